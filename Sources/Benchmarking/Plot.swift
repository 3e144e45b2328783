// SPDX-License-Identifier: Apache-2.0

#if canImport(Glibc)
internal import Glibc
#endif

/// The colors of subjects; those of Okabe and Ito, that color-blind readers can tell apart.
enum PlotColor {
    private static let named = [
        "direct": "#777777", "manual": "#000000", "legacy": "#d55e00", "nft": "#e69f00",
        "tproxy": "#cc79a7", "ebpf": "#0072b2", "ebpf-tc": "#56b4e9",
    ]

    static func of(_ subject: String) -> String { named[subject] ?? "#009e73" }
}

/// Lines and text of SVG.
struct Drawing {
    private(set) var elements: [String] = []
    let width: Double
    let height: Double

    init(width: Double, height: Double) {
        self.width = width
        self.height = height
    }

    mutating func line(
        _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ color: String,
        width: Double = 1
    ) {
        elements.append(
            "<line x1=\"\(x1.short)\" y1=\"\(y1.short)\" x2=\"\(x2.short)\" y2=\"\(y2.short)\" "
                + "stroke=\"\(color)\" stroke-width=\"\(width)\"/>")
    }

    mutating func text(_ text: String, _ x: Double, _ y: Double, anchor: String = "start") {
        elements.append(
            "<text x=\"\(x.short)\" y=\"\(y.short)\" text-anchor=\"\(anchor)\">\(text.escaped)</text>"
        )
    }

    mutating func dot(_ x: Double, _ y: Double, _ color: String) {
        elements.append("<circle cx=\"\(x.short)\" cy=\"\(y.short)\" r=\"4\" fill=\"\(color)\"/>")
    }

    mutating func path(_ points: [(x: Double, y: Double)], _ color: String) {
        let list = points.map { "\($0.x.short),\($0.y.short)" }.joined(separator: " ")
        elements.append(
            "<polyline points=\"\(list)\" fill=\"none\" stroke=\"\(color)\" stroke-width=\"2\"/>")
    }

    func svg(_ title: String) -> String {
        "<svg width=\"\(Int(width))\" height=\"\(Int(height))\" role=\"img\" "
            + "viewBox=\"0 0 \(Int(width)) \(Int(height))\"><title>\(title.escaped)</title>"
            + elements.joined() + "</svg>"
    }
}

/// From values to places on paper.
struct PlotAxis {
    private let low: Double
    private let high: Double
    private let from: Double
    private let to: Double

    init(_ range: ClosedRange<Double>, from: Double, to: Double) {
        low = range.lowerBound
        // Values that are all the same still have a place.
        high = max(range.upperBound, range.lowerBound + 1e-9)
        self.from = from
        self.to = to
    }

    func place(_ value: Double) -> Double { from + (value - low) / (high - low) * (to - from) }

    /// Round numbers within the range, about five.
    var ticks: [Double] {
        let rough = (high - low) / 5
        var step = 1e-9
        let factors = [2.0, 2.5, 2.0]
        var turn = 0
        while step < rough, turn < 60 {
            step *= factors[turn % 3]
            turn += 1
        }
        let first = (low / step).rounded(.up)
        return (0..<12).map { (first + Double($0)) * step }.filter { $0 <= high + 1e-12 }
    }
}

/// Ratios with their intervals, one line a subject, and where 1 is.
struct RatioPlot {
    private let rows: [(ratio: Ratio, subject: String)]

    init(_ rows: [(Ratio, String)]) { self.rows = rows.map { (ratio: $0.0, subject: $0.1) } }

    var svg: String {
        let values = rows.flatMap { [$0.ratio.median, $0.ratio.low, $0.ratio.high] }
            .compactMap(\.self)
        guard let least = values.min(), let most = values.max() else { return "" }
        let bottom = 10 + 26 * Double(rows.count)
        var drawing = Drawing(width: 470, height: bottom + 25)
        let span = max(0.05, max(most, 1) - min(least, 1))
        let axis = PlotAxis(
            (min(least, 1) - 0.05 * span)...(max(most, 1) + 0.05 * span), from: 80, to: 400)
        for tick in axis.ticks {
            drawing.line(axis.place(tick), 5, axis.place(tick), bottom, "#e5e5e5")
            drawing.text(tick.hundredths, axis.place(tick), bottom + 16, anchor: "middle")
        }
        drawing.line(axis.place(1), 5, axis.place(1), bottom, "#555", width: 1.5)
        for (index, row) in rows.enumerated() {
            let y = 22 + 26 * Double(index)
            let color = PlotColor.of(row.subject)
            drawing.text(row.subject, 70, y + 4, anchor: "end")
            if let low = row.ratio.low, let high = row.ratio.high {
                drawing.line(axis.place(low), y, axis.place(high), y, color, width: 3)
            }
            drawing.dot(axis.place(row.ratio.median), y, color)
            drawing.text(row.ratio.median.hundredths, 410, y + 4)
        }
        return drawing.svg("ratio to manual")
    }
}

/// Latencies by percentile; what is slower than most gets the more room the rarer it is.
struct LatencyPlot {
    private let rows: [BenchReport.Row]

    init(_ rows: [BenchReport.Row]) { self.rows = rows }

    /// One in two, one in ten, one in a hundred, as far from each other.
    private static func rarity(_ percentile: Double) -> Double {
        var rest = max(1 - percentile / 100, 1e-4)
        var decades = 0.0
        while rest < 0.1 {
            rest *= 10
            decades += 1
        }
        // Between two decades, straight: near enough to a logarithm for a plot.
        return decades + (1 - rest) / 0.9
    }

    var svg: String {
        let shown = rows.flatMap(\.distribution).filter { Self.range.contains($0.percentile) }
        let values = shown.map(\.microseconds).filter { $0 > 0 }
        guard let least = values.min(), let most = values.max() else { return "" }
        var drawing = Drawing(width: 470, height: 260)
        let across = PlotAxis(0...3, from: 50, to: 440)
        // A tail is a hundred times the median: in steps that are equal, one of them would be flat.
        let up = PlotAxis(log10(least)...log10(most), from: 230, to: 10)
        for tick in Self.ticks(least...most) {
            let y = up.place(log10(tick))
            drawing.line(50, y, 440, y, "#e5e5e5")
            drawing.text(tick.short, 44, y + 4, anchor: "end")
        }
        for percentile in [0, 50, 90, 99, 99.9] {
            let x = across.place(Self.rarity(percentile))
            drawing.line(x, 10, x, 230, "#e5e5e5")
            drawing.text("p\(percentile.short)", x, 247, anchor: "middle")
        }
        for row in rows {
            let points = row.distribution
                .filter { Self.range.contains($0.percentile) && $0.microseconds > 0 }
                .map {
                    (
                        x: across.place(Self.rarity($0.percentile)),
                        y: up.place(log10($0.microseconds))
                    )
                }
            drawing.path(points, PlotColor.of(row.subject))
        }
        return drawing.svg("latency by percentile")
    }

    private static let range = 0...99.9

    /// 1, 2, 5, 10, 20, as far as the range goes; fewer where it goes far.
    static func ticks(_ range: ClosedRange<Double>) -> [Double] {
        let decades = log10(range.upperBound / range.lowerBound)
        let digits: [Double] = decades > 2.5 ? [1] : [1, 2, 5]
        return (-3...9).flatMap { exponent in digits.map { $0 * pow(10, Double(exponent)) } }
            .filter(range.contains)
    }
}

/// How a rate goes on, from tenth to tenth of the time.
struct CoursePlot {
    private let rows: [BenchReport.Row]

    init(_ rows: [BenchReport.Row]) { self.rows = rows }

    var svg: String {
        guard let most = rows.flatMap(\.course).max(), most > 0 else { return "" }
        var drawing = Drawing(width: 470, height: 260)
        let across = PlotAxis(0.5...10.5, from: 50, to: 440)
        let up = PlotAxis(0...max(1.1, most), from: 230, to: 10)
        for tick in up.ticks {
            drawing.line(50, up.place(tick), 440, up.place(tick), "#e5e5e5")
            drawing.text(tick.hundredths, 44, up.place(tick) + 4, anchor: "end")
        }
        for tenth in 1...10 {
            drawing.text("\(tenth)", across.place(Double(tenth)), 247, anchor: "middle")
        }
        for row in rows {
            let points = row.course.enumerated().map { index, value in
                (x: across.place(Double(index + 1)), y: up.place(value))
            }
            drawing.path(points, PlotColor.of(row.subject))
        }
        return drawing.svg("rate over time")
    }
}
