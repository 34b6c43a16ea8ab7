// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("InferIsolatedConformances"),
]

// Raw sockets of scripted servers need pointers; the strict check of them guards the product only.
let testSettings = Array(settings.dropFirst())

let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let lifecycle = Target.Dependency.product(
    name: "ServiceLifecycle", package: "swift-service-lifecycle")
let signals = Target.Dependency.product(
    name: "UnixSignals", package: "swift-service-lifecycle")
let arguments = Target.Dependency.product(
    name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "billingd",
    products: [
        .executable(name: "billingd", targets: ["billingd"]),
        .executable(name: "toss-sandbox", targets: ["toss-sandbox"]),
        .executable(name: "billing-simulation", targets: ["billing-simulation"]),
        .executable(name: "billing-chaos", targets: ["billing-chaos"]),
        .executable(name: "billing-bench", targets: ["billing-bench"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/hummingbird-project/swift-mustache", from: "2.0.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    ],
    targets: [
        .systemLibrary(name: "CPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(
            name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        .systemLibrary(name: "CEpoll"),
        .target(name: "Billing", swiftSettings: settings),
        .target(name: "Postgres", dependencies: ["CPQ"], swiftSettings: settings),
        .target(name: "HTTP", dependencies: ["CCurl", "CEpoll"], swiftSettings: settings),
        .target(
            name: "BillingStore", dependencies: ["Billing", "Postgres", logging],
            swiftSettings: settings),
        .target(
            name: "TossPayments",
            dependencies: [
                "Billing", "HTTP", logging, .product(name: "Crypto", package: "swift-crypto"),
            ],
            swiftSettings: settings),
        .target(
            name: "Worker", dependencies: ["Billing", logging, lifecycle],
            swiftSettings: settings),
        .target(
            name: "Dashboard",
            dependencies: [
                "Billing", "BillingStore", "Worker",
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Mustache", package: "swift-mustache"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"), logging, lifecycle,
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "billingd",
            dependencies: [
                "Billing", "BillingStore", "Dashboard", "HTTP", "Postgres", "TossPayments",
                "Worker", logging, lifecycle, signals, arguments,
            ],
            swiftSettings: settings),
        .target(
            name: "TossSandbox",
            dependencies: [
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "HTTPTypes", package: "swift-http-types"), logging, lifecycle,
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "toss-sandbox",
            dependencies: ["TossSandbox", logging, lifecycle, signals, arguments],
            swiftSettings: settings),
        .target(
            name: "TestSupport", dependencies: ["Billing", "Postgres"], path: "Tests/TestSupport",
            swiftSettings: testSettings),
        .executableTarget(
            name: "billing-simulation",
            dependencies: ["Billing", "TestSupport", "TossPayments", "Worker", logging],
            path: "Tests/Simulation", exclude: ["check"], swiftSettings: testSettings),
        .executableTarget(
            name: "billing-chaos", dependencies: ["Postgres", "TestSupport", arguments],
            path: "Tests/Chaos", exclude: ["check"], swiftSettings: testSettings),
        .executableTarget(
            name: "billing-bench",
            dependencies: [
                "Billing", "BillingStore", "CCurl", "CEpoll", "Postgres", "TestSupport",
                "TossPayments", arguments, logging,
            ],
            path: "Tests/Bench", swiftSettings: testSettings),
        .testTarget(
            name: "BillingTests", dependencies: ["Billing", "TestSupport"],
            swiftSettings: testSettings),
        .testTarget(
            name: "PostgresTests", dependencies: ["Postgres", "TestSupport"],
            swiftSettings: testSettings),
        .testTarget(
            name: "HTTPTests", dependencies: ["HTTP", "TestSupport"], swiftSettings: testSettings),
        .testTarget(
            name: "BillingStoreTests",
            dependencies: ["Billing", "BillingStore", "Postgres", "TestSupport", logging],
            swiftSettings: testSettings),
        .testTarget(
            name: "ConformanceTests",
            dependencies: ["Billing", "BillingStore", "Postgres", "TestSupport", logging],
            swiftSettings: testSettings),
        .testTarget(
            name: "TossPaymentsTests",
            dependencies: [
                "Billing", "HTTP", "TossPayments", "TossSandbox", "TestSupport", logging,
            ],
            swiftSettings: testSettings),
        .testTarget(
            name: "DashboardTests",
            dependencies: ["BillingStore", "Dashboard", "TestSupport", "Worker", logging],
            swiftSettings: testSettings),
        .testTarget(
            name: "WorkerTests",
            dependencies: ["Billing", "Worker", "TestSupport", logging, lifecycle],
            swiftSettings: testSettings),
        .testTarget(
            name: "TossSandboxTests",
            dependencies: [
                "TossSandbox", logging, .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: testSettings),
        .testTarget(
            name: "billingdTests",
            dependencies: ["Postgres", "TestSupport", "billingd", "toss-sandbox"],
            swiftSettings: testSettings),
        .testTarget(
            name: "TidyTests", dependencies: ["TestSupport", "billingd"],
            swiftSettings: testSettings),
    ]
)

// libFuzzer brings its own entry point: only the fuzzing build (Tests/Fuzz/check) knows this target.
if Context.environment["BILLINGD_FUZZ"] != nil {
    package.targets.append(
        .executableTarget(
            name: "billing-fuzz",
            dependencies: [
                "Billing", "BillingStore", "HTTP", "Postgres", "TossPayments", logging,
            ],
            path: "Tests/Fuzz", exclude: ["check", "json.dict"], swiftSettings: testSettings))
    package.products.append(.executable(name: "billing-fuzz", targets: ["billing-fuzz"]))
}
