//! Inputs on which readers of YAML and JSON differ.

use super::Difference::{self, Accepted, Rejected, Value};

/// Scalars without quotes. Each is an input as a value, and as a key.
#[rustfmt::skip]
const SCALARS: &[&str] = &[
    "", "~", "null", "Null", "NULL", "nUll", "true", "True", "yes", "y", "Y", "on", "On", "oN", "no", "n", "off",
    "false", "maybe", "0", "-0", "+0", "00", "7", "+7", "-7", "0777", "0o17", "0O17", "08", "-08", "0b11", "-0b11",
    "+0b11", "0B11", "0b2", "0b", "0b-11", "0x1F", "0X1f", "-0x1F", "+0x1F", "0x", "0xg", "0x_1F", "1_000", "1__0",
    "_1", "1_", "0_777", "0o", "0o8", "1_000.5", "1.0", "-0.0", "1.", ".5", "+.5", "-.5", "._5", ".5e3", "1.e3",
    ".e3", ".", "..", "1.2.3", "1e3", "1E3", "1e+3", "1e-3", "1e", "e3", "1e3.5", "1.00065e+09", "6.901e+03", "1.5",
    "1.10", "0.1", "0.10000000000000000001", "1e21", "1e20", "1e-6", "1e-7", "1e400", "-1e400", "1e-400",
    "123456789.5", "1000000.0", "16777217.0", "0.00001", "1e39", "9007199254740993", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615",
    "18446744073709551616", "+9223372036854775808", "123456789012345678901234567890", ".inf", "-.inf", "+.inf",
    ".Inf", ".iNF", ".nan", ".NaN", "inf", "nan", "infinity", "-", "--", "-a", "=", "<", "<<", "+", "+-1", "--1",
    "1-2", "12:30", "1:30:00", "190:20:30", "2026-01-01", "2026-01-01T00:00:00Z", "2026-1-1", "20:30.5", "24Mi",
    "100m", "1k", "a b", "a:b", "a#b", "100%", "!", "!!str 1", "!!int \"1\"", "!!int x", "!!int 1.5", "!!float 1",
    "!!float x", "!!bool yes", "!!bool x", "!!null ''", "!!null x", "!!timestamp 2026-01-01", "!!binary YQ==",
    "!mine 1", "! 1", "!<tag:yaml.org,2002:str> 1", "'1'", "\"1\"", "'it''s'", "\"\\u00e9\"", "\"\\x41\"",
    "\"\\U0001F600\"", "\"\\ud83d\\ude00\"", "\"\\ud800\"", "\"\\ufffe\"", "\"\\/\"", "\"\\e\\0\\_\"", "\"\\q\"", "'\\n'", "é", "日本",
    "\u{1f600}", "@a", "`a", "%a", "|a", ">a", "&a", "*a", "?a", ",a", "{a", "[a", "}a", "]a", "#a", ":a", "? a",
];

/// Documents and streams.
#[rustfmt::skip]
const TEXTS: &[&str] = &[
    "", "\n", "# only a comment\n", "---\n", "---\n---\n", "---\n# c\n---\n", "null\n", "~\n---\na: 1\n", "a: 1",
    "a: 1\n---\n", "a: 1\n---", "---\na: 1\n---\nb: 2\n", "--- # c\na: 1\n", "---\t# c\na: 1\n", "# c\n---\na: 1\n",
    "a: 1\n--- \nb: 2\n", "a: 1\n---#c\nb: 2\n", "--- {a: b}\n", "--- a\n", "---a\n", "----\na: 1\n",
    "a: 1\n ---\nb: 2\n", "a: 1\n...\n", "a: 1\n...\n---\nb: 2\n", "a: 1\n...\nb: 2\n", "a: 1\n... # c\n", "...\n",
    "...\na: 1\n", "%YAML 1.1\n---\na: 1\n", "%YAML 1.2\n---\na: 1\n", "%TAG ! tag:example.com,2026:\n---\na: 1\n",
    "a: |\n  x\n  ---\n  y\n", "a: |\n  x\n---\nb: 2\n", "a: \"x\n---\ny\"\n", "a: 1\r\nb: 2\r\n",
    "a: 1\r\n---\r\nb: 2\r\n", "a: 1\rb: 2\r", "a: |\r\n  x\r\n  y\r\n", "a: \"x\r\n  y\"\r\n",
    "\u{feff}a: 1\nb: 2\n", "\u{feff}\u{feff}a: 1\n", "\u{feff}---\na: 1\n", "---\n\u{feff}a: 1\nb: 2\n",
    "a: 1\n---\n\u{feff}b: 2\nc: 3\n", "a: 1\n---\n\u{feff}# c\nb: 2\nc: 3\n", "a: 1\n---\n# c\n\u{feff}b: 2\nc: 3\n",
    "a: 1\n\u{feff}b: 2\n", "a: 1\n\u{feff}---\nb: 2\n", "\u{feff}{\"a\": 1}", "{\"a\": 1}\n\u{feff}{\"b\": 2}\n",
    "\u{feff}{\"a\": 1}\n{\"b\": 2}\n{\"c\": 3}", "a: x\u{feff}y\n", "a: \"\u{feff}x\"\n", "  a: 1\n  b: 2\n",
    "  a: 1\n  b: 2\n---\n    c: 3\n", " a: 1\nb: 2\n", "a: 1\n b: 2\n", "  # c\n  a:\n  - 1\n  - 2\n",
    "  - a\n  - b\n", "   {a: 1}\n", "a:\tb\n", "a: b\t# c\n", "\ta: b\n", "a:\n\tb: c\n", "a:\n  - b\n\t- c\n",
    "a: [\n\t1,\n\t2\n]\n", "a: {\t}\n", "a: \"x\ty\"\n", "a: |\n  x\ty\n", "-\ta\n", "a: 'x\n\ty'\n",
    "a: b\n\t\nc: d\n", "a: b \t \n", "a: x\n  y\n  z\n", "a: x\n\n  y\n", "a: x\n  # c\n  y\n", "a: x #c\n  y\n",
    "a: \"x\n  y\\\n  z\"\n", "a: 'x\n\n  y'\n", "a:\n  x\n", "a:\n  x:\n", "a: >\n  x\n  y\n\n  z\n   w\n",
    "a: >-\n  x\n\n\n", "a: |+\n  x\n\n", "a: |2\n   x\n", "a: |-2\n   x\n", "a: | # c\n  x\n", "a: |\n\n  x\n",
    "a: |\n   x\n  y\n", "a: |\n", "a: |\nb: 1\n", "a: >\n   x\n    y\n   z\n", "a: 1\na: 2\n", "a: 1\n\"a\": 2\n",
    "1: a\n\"1\": b\n", "on: a\ntrue: b\n", "{\"a\": 1, \"a\": 2}\n", "{\"a\": 1, \"A\": 2}\n",
    "x: &x {a: 1}\ny: *x\n", "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  a: 3\n",
    "x: &x {a: 1, b: 2}\ny:\n  a: 3\n  <<: *x\n", "x: &x {a: 1}\ny: &y {a: 2, b: 3}\nz:\n  <<: [*x, *y]\n",
    "x: &x {a: 1}\nz:\n  <<: *x\n  <<: {a: 2}\n", "z:\n  <<: {a: 1}\n  b: 2\n", "z:\n  <<: 1\n",
    "x: &x [1]\nz:\n  <<: *x\n", "z:\n  <<: [1]\n", "z:\n  <<: null\n", "z:\n  \"<<\": {a: 1}\n", "z:\n  '<<': 1\n",
    "a: *x\n", "a: &a [*a]\n", "a: &a 1\nb: &a 2\nc: *a\n", "a: &a\nb: *a\n", "&k a: 1\nb: *k\n", "&k a: 1\n*k : 2\n",
    "a: &x 1\n---\nb: *x\n", "&r\na: 1\n", "a: &a-b_c.d 1\nb: *a-b_c.d\n", "? a\n: b\n", "? a\n", "? [a]\n: b\n",
    "[a]: b\n", "{a}: b\n", "? |\n  x\n: y\n", "{a, b: }\n", "{a: 1, }\n", "[a, ]\n", "[, a]\n", "[a: 1]\n",
    "[a: 1, b]\n", "{a:1}\n", "{\"a\":1}\n", "{'a':1}\n", "[a, [b, {c: d}]]\n", "a: {b: c\n  , d: e}\n",
    "a: [b,\n# c\nd]\n", "a: [b # c\n  ]\n", "a: {\n}\n", "a: [\n]\nb: 1\n", "a: {b: }\n", "a: {? b : c}\n",
    "a: {b: [c}, d]\n", "a: [", "a: \"x", "a: 'x", "a: {", "a: ]\n", "a: }\n", "- a\n- b\n", "- - a\n  - b\n",
    "-\n  a: 1\n", "- a: 1\n  b: 2\n", "-a\n", "- \n- x\n", "a:\n- b\n- c\nd: 1\n", "a:\n  - b\n - c\n", "a: - b\n",
    "x\n", "\"x\"\n", "5\n", "a: b: c\n", "a : b\n", "a :b\n", "a:b\n", "a: 'b' c\n", "a: \"b\"c\n", "a: b #c\n",
    "a: b# c\n", "a:#c\n", "a: #c\n", "\"a\": 1\n'b': 2\n", "\"a\" : 1\n", "\"\": 1\n", "'a b': 1\n", "a b: 1\n",
    "a? b: 1\n", "?a: 1\n", "-a: 1\n", ":a: 1\n", "a::b: 1\n", "a: ::\n", "a: http://x:80/y#z\n",
    "a: [http://x:80/y, b]\n", "a: {b: http://x:80}\n", "a: x, y\n", "a: [x,y]\n", "a: {x: y,z: 1}\n", "{x:y}\n",
    "{x: y:z}\n", "[x:y]\n", "[a?b]\n", "[?a]\n", "[- a]\n", "[-a]\n", "[-]\n", "a: -\n", "a: - \n", "a: [b]c\n",
    "a: @b\n", "a: b@c\n", "a: %b\n", "%a: 1\n", "!t a: 1\n", "a: !!map {b: 1}\n", "a: !!seq [b]\n", "a: !!set {b}\n",
    "a: !t [b]\n", "a: !!str\n", "a: !t\n", "a: !!str {b: 1}\n", "!!str 1: a\n", "!!int \"1\": a\n",
    "a: !!omap [b: 1]\n", "a: !!unknown 1\n", "a: !e!x 1\n", "a: x\u{7f}y\n", "a: \"x\u{1}y\"\n", "a: x\u{85}y\n",
    "a: \"x\u{85}y\"\n", "a: x\u{2028}y\n", "a: \"x\u{2028}y\"\n", "# c\u{2028}b: 1\na: 1\n", "a: x\u{a0}y\n",
    "\u{a0}a: 1\n", "a:\u{a0}b\n", "a: \"\u{fffe}\"\n", "a: x\u{0}y\n", "{\"a\": 1}{\"b\": 2}",
    "{\"a\": 1} {\"b\": 2}\n", "{\"a\": 1}\n\n{\"b\": 2}\n{\"c\": 3}\n", "{\"a\": 1}\n---\n{\"b\": 2}\n",
    "{\"a\": 1}\n---\n{\"b\": 2}\n---\n{\"c\": 3}\n", "{\"a\": 1}\n---\nb: 2\n", "{\"a\": 1}\nb: 2\n",
    "{\"a\": 1}{\"b\": 2}\n---\nc: 3\n", "{\"a\": 1}{\"b\": 2}\n{c: 3}\n", "{\"a\": 1}\n{b: 2}\n", "{\"a\": 1} # c\n",
    "{\"a\": 1} # c\n---\nb: 2\n", "{\"a\": 1},{\"b\": 2}\n", "{\"a\": 1}]\n", "b: 2\n---\n{\"a\": 1}\n{\"c\": 1}\n",
    "b: 2\n---\n{\"a\": 1}\n", "\n\n  {\"a\": 1}\n\t{\"b\": 2}", "[{\"a\": 1}]\n", "[{\"a\": 1}]\n[{\"b\": 1}]\n",
    "{\"a\": 1}\n[2]\n\"x\"\nnull\n", "{a: b}\n", "{a: b}\n{c: d}\n", "{\"a\": 0777}\n", "{\"a\": 1,}\n",
    "{\"a\": 1 // c\n}\n", "{\"a\": tru}\n", "{\"a\": yes}\n", "{\"yes\": \"no\"}\n",
    "{\"a\": 1.0, \"b\": 1e3, \"c\": -0, \"d\": -0.0, \"e\": 18446744073709551615, \"f\": 1E+2}\n",
    "{\"a\": 1e400}\n", "{\"a\": .5}\n", "{\"a\": \"\\ud83d\\ude00\"}\n", "{\"a\": \"\\ud800\"}\n",
    "{\"a\": \"\\ud83dx\\ude00\\ud83d\\ud83d\\ude00\"}\n", "{\"a\": \"\\udE00\\\\ud83d\\\"\u{1f600}\\u0000\"}\n",
    "{\"\\ud83d\": 1}\n", "{\"\\ud83d\": 1, \"\\ufffd\": 2}\n", "{\"a\": \"\\ufffe\\uffff\u{fffe}\u{feff}\u{9f}\"}\n",
    "{\"a\": 1 # c\n}\n", "{'a': 1, \"b\": 'x'}\n", "{\"a\": \"x\\\n\"}\n", "{\"a\": \"{\\\\\"}{\"b\": \": ,]\"}",
    "{\"a\": \"\\/\\b\\f\"}\n", "{\"a\": \"x\ty\"}\n", "{\"a\": \"x\ny\"}\n", "{\"a\"\n:\n1}\n",
    "{\"<<\": {\"a\": 1}}\n", "{\"a\": \"\u{2028}\u{85}\u{7f}\"}\n", "{\"a\": null}\nnull\n{\"b\": 1}\n", "{}\n",
    "{}{}", "[]\n", "{\n\t\"a\":\t1\n}\n", "{\"a\":[1,2,{\"b\":{}}]}\r\n{\"c\":1}\r\n",
    "b: 1\n---\n{\"a\": \"\\ud83d\\ude00\"}\n", "b: 1\n---\n{\"a\"\n: 1}\n", "{\"a\": 1}\n\n\n---\nb: 1\n",
    "{\"a\": 1}   \n   b: 1\n",
];

/// Inputs that are read differently, with the reason.
#[rustfmt::skip]
pub(super) const DIFFERENCES: &[(&str, Difference, &str)] = &[
    ("v: 0b-11\n", Value, "go-yaml reads a sign after the prefix"),
    ("v: !!binary YQ==\n", Rejected, "kubectl decodes the text; data of a Secret would be wrong then"),
    ("[0b-11]\n", Value, "go-yaml reads a sign after the prefix"),
    ("[-]\n", Rejected, "YAML has no such scalar in brackets"),
    ("[!]\n", Accepted, "YAML 1.1 and 1.2 differ about this indicator in brackets"),
    ("[!!binary YQ==]\n", Rejected, "kubectl decodes the text; data of a Secret would be wrong then"),
    ("[?a]\n", Value, "YAML 1.1 and 1.2 differ about this indicator in brackets"),
    ("[]a]\n", Rejected, "kubectl ignores what follows the first value"),
    ("[:a]\n", Accepted, "YAML 1.1 and 1.2 differ about this indicator in brackets"),
    ("0b-11: v\n", Value, "go-yaml reads a sign after the prefix"),
    ("!!binary YQ==: v\n", Rejected, "kubectl decodes the text; data of a Secret would be wrong then"),
    ("&a: v\n", Accepted, "YAML 1.2 allows more characters in an anchor"),
    ("a: 1\n...\nb: 2\n", Rejected, "kubectl ignores what follows the first value"),
    ("...\n", Accepted, "an end without a document is no error"),
    ("...\na: 1\n", Accepted, "an end without a document is no error"),
    ("---\n\u{feff}a: 1\nb: 2\n", Value, "kubectl takes the mark into the key"),
    ("a: 1\n---\n# c\n\u{feff}b: 2\nc: 3\n", Rejected, "kubectl takes the mark into the key"),
    ("a: 1\n\u{feff}b: 2\n", Rejected, "kubectl takes the mark into the key"),
    (" a: 1\nb: 2\n", Rejected, "kubectl ignores what follows the first value"),
    ("\ta: b\n", Accepted, "YAML 1.2 allows this tab"),
    ("a: [\n\t1,\n\t2\n]\n", Rejected, "the parser allows no tab at the start of a line"),
    ("-\ta\n", Accepted, "YAML 1.2 allows this tab"),
    ("a: b\n\t\nc: d\n", Accepted, "YAML 1.2 allows this tab"),
    ("a: 1\na: 2\n", Rejected, "one of two values would be lost"),
    ("a: 1\n\"a\": 2\n", Rejected, "one of two values would be lost"),
    ("1: a\n\"1\": b\n", Rejected, "one of two values would be lost"),
    ("on: a\ntrue: b\n", Rejected, "one of two values would be lost"),
    ("{\"a\": 1, \"a\": 2}\n", Rejected, "one of two values would be lost"),
    ("&k a: 1\n*k : 2\n", Rejected, "an alias as key"),
    ("a: &a-b_c.d 1\nb: *a-b_c.d\n", Accepted, "YAML 1.2 allows more characters in an anchor"),
    ("[a?b]\n", Accepted, "YAML 1.1 and 1.2 differ about this indicator in brackets"),
    ("a: \"x\u{85}y\"\n", Rejected, "readers disagree about this line separator"),
    ("a: \"x\u{2028}y\"\n", Rejected, "readers disagree about this line separator"),
    ("# c\u{2028}b: 1\na: 1\n", Rejected, "readers disagree about this line separator"),
    ("b: 2\n---\n{\"a\": 1}\n{\"c\": 1}\n", Rejected, "kubectl ignores what follows the first value"),
    ("[{\"a\": 1}]\n[{\"b\": 1}]\n", Rejected, "kubectl ignores what follows the first value"),
    ("{a: b}\n{c: d}\n", Rejected, "kubectl ignores what follows the first value"),
    ("{\"a\": 1.0, \"b\": 1e3, \"c\": -0, \"d\": -0.0, \"e\": 18446744073709551615, \"f\": 1E+2}\n", Value, "the API server reads minus zero as zero"),
    ("b: 1\n---\n{\"a\"\n: 1}\n", Accepted, "YAML 1.2 allows a colon in the next line"),
    ("{\"\\ud83d\": 1, \"\\ufffd\": 2}\n", Rejected, "one of two values would be lost"),
    ("JSON key of 1100 characters", Rejected, "the parser limits keys to 1024 characters"),
    ("JSON after 5000 blanks", Value, "kubectl looks for the bracket in 4096 bytes"),
    ("UTF-16 of odd length", Rejected, "kubectl replaces characters that it cannot read"),
    ("Latin-1", Rejected, "kubectl replaces characters that it cannot read"),
];

/// The inputs with their names.
pub(super) fn snippets() -> Vec<(String, Vec<u8>)> {
    let values = SCALARS.iter().map(|scalar| format!("v: {scalar}\n"));
    let items = SCALARS.iter().map(|scalar| format!("[{scalar}]\n"));
    let keys = SCALARS.iter().map(|scalar| format!("{scalar}: v\n"));
    let texts = TEXTS.iter().map(|text| (*text).to_owned());
    let texts = values.chain(items).chain(keys).chain(texts).map(|text| (text.clone(), text.into_bytes()));
    texts.chain(generated()).collect()
}

/// Long lines and documents, other encodings.
fn generated() -> Vec<(String, Vec<u8>)> {
    let utf16 = |text: &str, unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<_>>();
    let line = "x".repeat(70_000);
    let nested =
        |open: &str, close: &str, depth| format!("a: {}{}\n", open.repeat(depth), close.repeat(depth));
    let inputs: Vec<(&str, Vec<u8>)> = vec![
        ("line of 70 kB", format!("a: {line}\nb: \"{line}\"\n# {line}\nc: 1\n").into_bytes()),
        ("document of 6 MB", format!("a: |\n{}---\nb: 1\n", format!("  {line}\n").repeat(90)).into_bytes()),
        ("key of 1100 characters", format!("{}: 1\n", &line[..1100]).into_bytes()),
        ("JSON key of 1100 characters", format!("{{\"{}\": 1}}\n", &line[..1100]).into_bytes()),
        ("JSON after 5000 blanks", format!("{}{{\"a\": 1}}{{\"b\": 2}}", " ".repeat(5000)).into_bytes()),
        ("100 levels", nested("[", "]", 100).into_bytes()),
        ("UTF-16 LE", utf16("\u{feff}a: \u{1f600}\n---\nb: 2\n", u16::to_le_bytes)),
        ("UTF-16 BE", utf16("\u{feff}a: é\n", u16::to_be_bytes)),
        ("UTF-16 without a mark", utf16("a: 1\n", u16::to_le_bytes)),
        ("UTF-16 JSON", utf16("\u{feff}{\"a\": 1}{\"b\": 2}", u16::to_le_bytes)),
        ("UTF-16 of odd length", b"\xff\xfea\0:".to_vec()),
        ("Latin-1", b"a: \xe9\n".to_vec()),
    ];
    inputs.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}
