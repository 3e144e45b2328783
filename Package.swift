// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

/// The settings of every Swift target, strict from the first commit; see CONTRIBUTING.md.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
]

let argumentParser: Target.Dependency = .product(
    name: "ArgumentParser", package: "swift-argument-parser")
let histogram: Target.Dependency = .product(name: "Histogram", package: "hdrhistogram-swift")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let systemPackage: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let asyncHTTPClient: Target.Dependency = .product(
    name: "AsyncHTTPClient", package: "async-http-client")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")

/// A Swift library, executable or test, with the house's settings.
func library(_ name: String, _ dependencies: [Target.Dependency] = [], path: String? = nil)
    -> Target
{
    .target(name: name, dependencies: dependencies, path: path, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = [])
    -> Target
{
    .testTarget(
        name: name, dependencies: dependencies, resources: resources, swiftSettings: strict)
}

let package = Package(
    name: "swerve",
    products: [
        .executable(name: "swerve", targets: ["swerve"]),
        .executable(name: "swerved", targets: ["swerved"]),
        .executable(name: "swerve-cni", targets: ["swerve-cni"]),
        .library(name: "MicroBenchmarking", targets: ["MicroBenchmarking"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
        .package(url: "https://github.com/apple/swift-system", exact: "1.8.1"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", exact: "0.2.0"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
        .package(url: "https://github.com/swift-server/async-http-client", exact: "1.37.0"),
    ],
    targets: [
        // The meaning of the product: pure values, no kernel.
        library("RedirectionModel"),

        // What an operator writes: policy files and annotations, read into the model.
        library("PolicyFile", ["RedirectionModel", yams]),

        // The kernel, in Swift's words.
        .target(name: "CLinuxShims"),
        .systemLibrary(name: "CLibMNL", pkgConfig: "libmnl"),
        library("LinuxKernel", ["CLinuxShims", "CLibMNL", "RedirectionModel", systemPackage]),

        // What decides and keeps: the backend protocol and everything above it.
        library("RedirectionEngine", ["RedirectionModel", "LinuxKernel", systemPackage]),

        // The eBPF mechanism.
        .systemLibrary(name: "CSwerveABI", path: "bpf/include"),
        .systemLibrary(name: "CLibBPF", path: "backends/ebpf/CLibBPF", pkgConfig: "libbpf"),
        .target(name: "CBPFObjects", path: "backends/ebpf/CBPFObjects"),
        library("LibBPF", ["CLibBPF", "LinuxKernel", systemPackage], path: "backends/ebpf/LibBPF"),
        library(
            "EBPFBackend",
            [
                "CBPFObjects", "CSwerveABI", "LibBPF", "LinuxKernel", "RedirectionEngine",
                "RedirectionModel", systemPackage,
            ],
            path: "backends/ebpf/EBPFBackend"),

        // The iptables mechanisms: one rule compiler, two writers.
        .systemLibrary(name: "CLibIPTC", path: "backends/iptables/CLibIPTC", pkgConfig: "libiptc"),
        .systemLibrary(
            name: "CLibNFTNL", path: "backends/iptables/CLibNFTNL", pkgConfig: "libnftnl"),
        library(
            "XTables",
            ["CLibIPTC", "CLinuxShims", "LinuxKernel", "RedirectionModel", systemPackage],
            path: "backends/iptables/XTables"),
        library(
            "NFTables", ["CLibNFTNL", "CLibMNL", "LinuxKernel", systemPackage],
            path: "backends/iptables/NFTables"),
        library(
            "IPTablesBackend",
            [
                "XTables", "NFTables", "LinuxKernel", "RedirectionEngine", "RedirectionModel",
                systemPackage,
            ],
            path: "backends/iptables/IPTablesBackend"),

        // The one place that knows every mechanism by name.
        library(
            "Backends",
            [
                "EBPFBackend", "IPTablesBackend", "LinuxKernel", "RedirectionEngine",
                "RedirectionModel", "XTables",
            ]),
        library(
            "CommandOptions", ["CNIPlugin", "LinuxKernel", "RedirectionEngine", argumentParser]),

        // The lab: pods, sidecars and a client, on one machine.
        library("LiveChannels", [nioCore]),
        library(
            "SidecarProxy",
            [
                "LinuxKernel", "LiveChannels", "RedirectionModel", logging, nioCore, nioPosix,
                nioHTTP1,
            ]),
        library(
            "Lab",
            [
                "Backends", "EBPFBackend", "LinuxKernel", "PolicyFile", "RedirectionEngine",
                "RedirectionModel", "SidecarProxy", systemPackage,
            ]),

        // What redirection costs.
        .target(name: "CTrafficLoad"),
        library(
            "Benchmarking",
            [
                "Backends", "CTrafficLoad", "EBPFBackend", "IPTablesBackend", "Lab", "LinuxKernel",
                "RedirectionEngine", "RedirectionModel", "SeededRandom", histogram, systemPackage,
            ]),

        // For the package in Benchmarks, which sees products alone.
        library(
            "MicroBenchmarking",
            [
                "EBPFBackend", "IPTablesBackend", "LinuxKernel", "RedirectionEngine",
                "RedirectionModel", "SeededRandom",
            ]),

        .executableTarget(
            name: "swerve",
            dependencies: [
                "AgentProtocol", "Backends", "Benchmarking", "CNIConfiguration", "CommandOptions",
                "EBPFBackend", "HelmChart", "IPTablesBackend", "Lab", "LinuxKernel",
                "NodeInstallation", "OrderedJSON", "PluginSystem", "PolicyFile",
                "RedirectionEngine", "RedirectionModel",
                "SidecarProxy", argumentParser, logging, systemPackage,
            ],
            swiftSettings: strict),

        // The daemon.
        library("LocalHTTP", ["LinuxKernel", "LiveChannels", nioCore, nioPosix, nioHTTP1]),
        library(
            "KubernetesClient",
            [
                "LinuxKernel", "OrderedJSON", asyncHTTPClient, logging, nioCore, nioHTTP1,
                nioPosix, nioSSL,
            ]),
        library(
            "NodeAgent",
            [
                "AgentProtocol", "CNIPlugin", "KubernetesClient", "LinuxKernel", "LocalHTTP",
                "OrderedJSON", "PolicyFile", "RedirectionEngine", "RedirectionModel", logging,
                systemPackage,
            ]),
        .executableTarget(
            name: "swerved",
            dependencies: [
                "AgentProtocol", "Backends", "CNIConfiguration", "CommandOptions", "EBPFBackend",
                "KubernetesClient", "LinuxKernel", "NodeAgent", "NodeInstallation", "PolicyFile",
                "RedirectionEngine", "RedirectionModel", argumentParser, logging,
            ],
            swiftSettings: strict),

        // What a container runtime starts for every pod: no Foundation, no NIO, no backend.
        library("OrderedJSON"),
        library("AgentProtocol", ["OrderedJSON"]),
        library("PluginSystem", ["CLinuxShims"]),
        library("CNIPlugin", ["AgentProtocol", "OrderedJSON"]),
        .executableTarget(
            name: "swerve-cni",
            dependencies: ["AgentProtocol", "CNIPlugin", "OrderedJSON", "PluginSystem"],
            swiftSettings: strict,
            // A node has no Swift, and may have no glibc either (docs/adr/0020). lld, for others
            // warn about what the runtime could load and never does.
            linkerSettings: [
                .unsafeFlags([
                    "-static-executable", "-use-ld=lld", "-Xlinker", "--gc-sections",
                    "-Xlinker", "--icf=safe",
                ]),
                .unsafeFlags(["-Xlinker", "--strip-all"], .when(configuration: .release)),
            ]),

        // Our place in a node's network configuration.
        library("CNIConfiguration", ["CNIPlugin", "LinuxKernel", "OrderedJSON", systemPackage]),

        // How it gets onto a node, and into a cluster.
        .target(name: "CDeployFiles"),
        library("HelmChart", ["CDeployFiles", "OrderedJSON", "PolicyFile", yams]),
        library(
            "NodeInstallation", ["CNIConfiguration", "CNIPlugin", "HelmChart", "LinuxKernel"]),

        // Tests.
        library(
            "KernelTestSupport",
            [
                "CLinuxShims", "LinuxKernel", "RedirectionEngine", "RedirectionModel",
                "SeededRandom", systemPackage,
            ]),
        library(
            "AgentTestSupport",
            [
                "AgentProtocol", "CLinuxShims", "CNIPlugin", "KernelTestSupport", "LinuxKernel",
                "OrderedJSON", "RedirectionEngine", "RedirectionModel", systemPackage,
            ]),
        library(
            "KubernetesTestSupport",
            [
                "KernelTestSupport", "LinuxKernel", "OrderedJSON", nioCore, nioHTTP1, nioPosix,
                nioSSL,
            ]),
        .executableTarget(name: "without-bpf", path: "Tests/WithoutBPF"),
        library(
            "TestedMechanisms",
            ["EBPFBackend", "IPTablesBackend", "LinuxKernel", "RedirectionEngine"]),
        library("SeededRandom"),
        library("Equivalence", ["RedirectionModel", "SeededRandom"]),
        library(
            "EquivalenceRig",
            [
                "Equivalence", "KernelTestSupport", "LinuxKernel", "RedirectionEngine",
                "RedirectionModel", systemPackage,
            ]),
        library("PolicyFuzzing", ["PolicyFile", "RedirectionModel", "SeededRandom"]),
        tests("RedirectionModelTests", ["RedirectionModel"]),
        // Not of swerve-cni itself, whose linker settings would become the tests' own.
        tests(
            "CNITests",
            [
                "AgentProtocol", "AgentTestSupport", "CNIConfiguration", "CNIPlugin",
                "KernelTestSupport",
                "LinuxKernel", "OrderedJSON", "SeededRandom",
            ]),
        tests(
            "InstallTests",
            [
                "AgentTestSupport", "HelmChart", "KernelTestSupport", "LinuxKernel",
                "NodeInstallation", "OrderedJSON",
            ], resources: [.copy("helm.py")]),
        tests(
            "BenchmarkingTests",
            [
                "Benchmarking", "KernelTestSupport", "Lab", "LinuxKernel", "RedirectionModel",
            ]),
        tests("EquivalenceTests", ["Equivalence", "RedirectionModel"]),
        tests(
            "ProofTests",
            [
                "EBPFBackend", "Equivalence", "EquivalenceRig", "IPTablesBackend",
                "KernelTestSupport", "LinuxKernel", "RedirectionEngine", "RedirectionModel",
                "TestedMechanisms",
            ]),
        tests(
            "PolicyFileTests",
            [
                "KernelTestSupport", "LinuxKernel", "PolicyFile", "PolicyFuzzing",
                "RedirectionModel",
            ],
            resources: [.copy("Published")]),
        tests(
            "RedirectionEngineTests",
            [
                "Equivalence", "KernelTestSupport", "LinuxKernel", "RedirectionEngine",
                "RedirectionModel", systemPackage,
            ]),
        tests("LinuxKernelTests", ["KernelTestSupport", "LinuxKernel", systemPackage]),
        tests(
            "IPTablesBackendTests",
            [
                "IPTablesBackend", "KernelTestSupport", "LinuxKernel", "NFTables", "XTables",
                "RedirectionEngine", "RedirectionModel", "SeededRandom", systemPackage,
            ],
            resources: [.copy("Golden")]),
        tests(
            "EBPFBackendTests",
            [
                "CBPFObjects", "CSwerveABI", "EBPFBackend", "KernelTestSupport", "LibBPF",
                "LinuxKernel", "RedirectionEngine", "RedirectionModel", systemPackage,
            ]),
        tests(
            "KernelTests",
            [
                "EBPFBackend", "IPTablesBackend", "KernelTestSupport", "Lab", "LinuxKernel",
                "RedirectionEngine", "RedirectionModel", "SeededRandom", "SidecarProxy",
                "TestedMechanisms", systemPackage,
            ]),
        .executableTarget(
            name: "EngineHost",
            dependencies: ["Backends", "LinuxKernel", "RedirectionEngine", "RedirectionModel"],
            path: "Tests/EngineHost", swiftSettings: strict),
        tests(
            "CrashTests",
            [
                "AgentProtocol", "AgentTestSupport", "CNIPlugin", "HelmChart", "KernelTestSupport",
                "KubernetesTestSupport", "LibBPF", "LinuxKernel", "OrderedJSON",
                "RedirectionEngine", "RedirectionModel", systemPackage,
            ]),
        tests(
            "KubernetesTests",
            [
                "KernelTestSupport", "KubernetesClient", "KubernetesTestSupport", "LinuxKernel",
                "OrderedJSON", logging,
            ]),
        tests(
            "RuntimeTests",
            [
                "AgentProtocol", "AgentTestSupport", "KernelTestSupport", "KubernetesTestSupport",
                "LinuxKernel", "OrderedJSON", "RedirectionModel", systemPackage,
            ],
            resources: [.copy("Rig")]),
        tests(
            "NodeAgentTests",
            [
                "AgentProtocol", "AgentTestSupport", "KernelTestSupport", "KubernetesClient",
                "KubernetesTestSupport", "LinuxKernel", "LocalHTTP", "NodeAgent", "OrderedJSON",
                "PolicyFile", "RedirectionEngine", "RedirectionModel", logging, systemPackage,
                yams,
            ]),
        tests(
            "LabTests",
            [
                "Backends", "EBPFBackend", "KernelTestSupport", "Lab", "LinuxKernel",
                "PolicyFile", "RedirectionEngine", "RedirectionModel", "SidecarProxy", nioCore,
                nioPosix, systemPackage, "without-bpf",
            ]),
    ]
)

// libFuzzer brings its own main and wants everything instrumented: `make fuzz` builds apart.
if Context.environment["SWERVE_FUZZ"] != nil {
    package.products.append(.executable(name: "policy-fuzzer", targets: ["policy-fuzzer"]))
    package.targets.append(
        .executableTarget(
            name: "policy-fuzzer",
            dependencies: ["PolicyFile", "PolicyFuzzing", "RedirectionModel"],
            path: "Tests/Fuzz", swiftSettings: strict))
}
