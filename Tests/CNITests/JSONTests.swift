// SPDX-License-Identifier: Apache-2.0

import Foundation
import OrderedJSON
import SeededRandom
import Testing

@Suite struct JSONTests {
    @Test(arguments: [
        #"{"z":1,"a":[true,false,null,{}],"z":2}"#, "1e3", "-0", "12345678901234567890.10", "[]",
        #""\"\\\n\t""#, #"{"":""}"#, "\"\u{2603} \u{1F600}\"",
    ])
    func `what is read is written as it was`(text: String) throws {
        #expect(try JSON(parsing: text).rendered() == text)
    }

    @Test func `escapes are the characters they stand for`() throws {
        let text = #" "\u0041\/\b\f\r\u2603\ud83d\ude00\u0000" "#
        #expect(try JSON(parsing: text) == .string("A/\u{8}\u{c}\r\u{2603}\u{1F600}\u{0}"))
    }

    @Test(arguments: [
        "", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "{\"a\" 1}", "01", "-", "1.", ".5", "1e", "+1",
        "nul", "truefalse", "'a'", "\"", "\"\\x\"", "\"\\u12\"", #""\ud800""#, #""\udc00\ud800""#,
        #""\ud800\u0041""#, "\"\n\"", "[1 2]", "// no\n1", "1 2", "NaN", "[" + "\u{feff}1]",
    ])
    func `what is no JSON is refused`(text: String) {
        #expect(throws: JSONError.self) { try JSON(parsing: text) }
    }

    @Test func `an error says where`() throws {
        let error = #expect(throws: JSONError.self) { try JSON(parsing: "{\n  \"a\": tru\n}") }
        #expect(error?.line == 2 && error?.column == 8)
    }

    @Test func `bytes that are no UTF-8 are refused, and so is a pit`() {
        let broken: [[UInt8]] = [
            [0x22, 0xff, 0x22], [0x22, 0xc0, 0x80, 0x22], [0x22, 0xed, 0xa0, 0x80, 0x22],
        ]
        for bytes in broken {
            #expect(throws: JSONError.self) { try JSON(parsing: bytes) }
        }
        let nested = { String(repeating: "[", count: $0) + String(repeating: "]", count: $0) }
        #expect(throws: Never.self) { try JSON(parsing: nested(100)) }
        #expect(throws: JSONError.self) { try JSON(parsing: nested(100_000)) }
    }

    @Test func `of members with one name the last counts, as in Go`() throws {
        let json = try JSON(parsing: #"{"a":1,"b":2,"a":3}"#)
        #expect(json["a"] == JSON(3) && json["c"] == nil)
        #expect(json.setting("a", to: JSON(4)).rendered() == #"{"a":4,"b":2}"#)
        #expect(json.setting("b", to: nil).rendered() == #"{"a":1,"a":3}"#)
    }

    /// Foundation's reader is the second opinion: it must accept what ours does, and see the same.
    @Test func `random texts mean what Foundation takes them for`() throws {
        let sound = Array(#"{"a":[1.5e-3,"x\n\u00e9",{"b":[true,null,-2]}],"c":{"d":"☃"}}"#.utf8)
        var random = SplitMix64(seed: 7)
        var accepted = 0
        for round in 0..<4000 {
            var bytes = sound
            for _ in 0...Int.random(in: 0..<2, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                if Bool.random(using: &random) {
                    bytes[place] = .random(in: 0x20..<0x7f, using: &random)
                } else {
                    bytes.remove(at: place)
                }
            }
            guard let json = try? JSON(parsing: bytes) else { continue }
            accepted += 1
            let theirs = try #require(
                try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed),
                "round \(round): \(String(decoding: bytes, as: UTF8.self))")
            let again = try JSONSerialization.jsonObject(
                with: Data(json.rendered().utf8), options: .fragmentsAllowed)
            #expect(try Self.canonical(theirs) == Self.canonical(again), "round \(round)")
        }
        #expect(accepted > 100, "the comparison has compared something")
    }

    private static func canonical(_ value: Any) throws -> Data {
        try JSONSerialization.data(
            withJSONObject: value, options: [.fragmentsAllowed, .sortedKeys])
    }

    @Test func `the places of a list's elements are theirs to the byte`() throws {
        let text = Array(#" { "x":[0], "list" : [ {"a":[1]} ,2,"," ] } "#.utf8)
        let ranges = try #require(try JSON.elementRanges(of: "list", in: text))
        #expect(
            ranges.map { String(decoding: text[$0], as: UTF8.self) } == [
                #"{"a":[1]}"#, "2", #"",""#,
            ])
        #expect(try JSON.elementRanges(of: "none", in: text) == nil)
        #expect(try JSON.elementRanges(of: "a", in: Array("[1]".utf8)) == nil)
    }
}
