{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- define "swerve.selector" -}}
app.kubernetes.io/name: swerve
app.kubernetes.io/component: agent
{{- end -}}
{{- define "swerve.labels" -}}
app.kubernetes.io/name: swerve
app.kubernetes.io/component: agent
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}
{{- define "swerve.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- define "swerve.policy" -}}
apiVersion: swerve.dev/v1
kind: Policy
preset: {{ .Values.preset }}
mode: {{ .Values.trafficInterceptionMode }}
{{- with .Values.policy }}
{{ toYaml . }}
{{- end }}
{{- end -}}
