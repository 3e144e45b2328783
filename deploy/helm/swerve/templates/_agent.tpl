{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- define "swerve.capabilities" -}}
# docs/install.md says what each is for.
capabilities:
  drop: [ALL]
  add: [CHOWN, DAC_OVERRIDE, FOWNER, LEASE, NET_ADMIN, NET_RAW, SYS_ADMIN, SYS_PTRACE, SYS_RESOURCE]
{{- end -}}
{{- define "swerve.node-options" -}}
{{- with .Values.cgroupRoot -}}
- --cgroup-root=/host/cgroup
{{- end }}
{{- end -}}
{{- define "swerve.node-mounts" -}}
- {name: state, mountPath: /run/swerve}
# What is mounted on the node later is seen here, too: namespaces come and go with pods.
- {name: netns, mountPath: /run/netns, mountPropagation: HostToContainer}
- {name: bpffs, mountPath: /sys/fs/bpf, mountPropagation: HostToContainer}
{{- if .Values.cgroupRoot }}
- {name: cgroup, mountPath: /host/cgroup, mountPropagation: HostToContainer}
{{- end }}
- {name: xtables-lock, mountPath: /run/xtables.lock}
{{- end -}}
{{- define "swerve.agent" -}}
initContainers:
  # The program is there before the agent makes an entry that names it.
  - name: plugin
    image: {{ include "swerve.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [swerve, node, install, --program-only, --cni-bin-dir=/host/cni/bin]
    securityContext:
      runAsUser: 0
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
        add: [DAC_OVERRIDE]
    volumeMounts:
      - {name: cni-bin, mountPath: /host/cni/bin}
containers:
  - name: agent
    image: {{ include "swerve.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [swerved]
    args:
      {{- include "swerve.node-options" . | nindent 6 }}
      - --policy=/etc/swerve/policy.yaml
      - --kubernetes
      {{- with .Values.kubernetes.server }}
      - --kube-server={{ . }}
      {{- end }}
      - --cni-conf-dir=/host/cni/net.d
      - --cni-cache-dir={{ if .Values.cni.cacheDir }}/host/cni/cache{{ else }}none{{ end }}
      - --failure-policy={{ .Values.cni.failurePolicy }}
      - --plugin-timeout={{ .Values.cni.timeoutSeconds }}
      - --drift={{ .Values.interceptor.drift }}
      - --period={{ .Values.interceptor.period }}
      - --log-format={{ .Values.interceptor.logFormat }}
      {{- if .Values.interceptor.debug }}
      - --log-level=debug
      {{- end }}
      {{- with .Values.interceptor.flomeshSocket }}
      - --flomesh-socket=/host/flomesh/{{ base . }}
      {{- end }}
    env:
      - name: NODE_NAME
        valueFrom:
          fieldRef: {fieldPath: spec.nodeName}
    readinessProbe:
      exec: {command: [swerve, node, ready]}
      periodSeconds: 10
      timeoutSeconds: 5
    {{- with .Values.interceptor.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext:
      runAsUser: 0
      readOnlyRootFilesystem: true
      {{- include "swerve.capabilities" . | nindent 6 }}
    volumeMounts:
      {{- include "swerve.node-mounts" . | nindent 6 }}
      - {name: cni-conf, mountPath: /host/cni/net.d}
      {{- if .Values.cni.cacheDir }}
      - {name: cni-cache, mountPath: /host/cni/cache, readOnly: true}
      {{- end }}
      - {name: policy, mountPath: /etc/swerve, readOnly: true}
      {{- if .Values.interceptor.flomeshSocket }}
      - {name: flomesh, mountPath: /host/flomesh}
      {{- end }}
{{- end -}}
{{- define "swerve.removal" -}}
initContainers:
  # First nobody calls us any more, then nothing is redirected any more.
  - name: plugin
    image: {{ include "swerve.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command:
      - swerve
      - node
      - uninstall
      - --cni-conf-dir=/host/cni/net.d
      - --cni-bin-dir=/host/cni/bin
    securityContext:
      runAsUser: 0
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
        add: [CHOWN, DAC_OVERRIDE, FOWNER, LEASE]
    volumeMounts:
      - {name: cni-bin, mountPath: /host/cni/bin}
      - {name: cni-conf, mountPath: /host/cni/net.d}
  - name: cleanup
    image: {{ include "swerve.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [swerve, cleanup]
    args:
      {{- include "swerve.node-options" . | nindent 6 }}
    securityContext:
      runAsUser: 0
      readOnlyRootFilesystem: true
      {{- include "swerve.capabilities" . | nindent 6 }}
    volumeMounts:
      {{- include "swerve.node-mounts" . | nindent 6 }}
containers:
  - name: agent
    image: {{ include "swerve.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [swerve, node, wait]
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
{{- end -}}
