//! The sequences of the Autobahn cases 6.5 to 6.23, which it has from
//! <https://www.cl.cam.ac.uk/~mgk25/ucs/examples/UTF-8-test.txt>.

/// Groups and their sequences in hexadecimal digits: after a `+` those that are UTF-8, after a `-`
/// those that are not.
const GROUPS: [(&str, &str); 19] = [
    // Some valid UTF-8 sequences.
    (
        "6.5",
        "+68656c6c6f24776f726c64 +68656c6c6fc2a2776f726c64 +68656c6c6fe282ac776f726c64 \
         +68656c6c6ff0a4ada2776f726c64 +cebae1bdb9cf83cebcceb5",
    ),
    // All prefixes of a valid UTF-8 string that contains multi-byte code points.
    (
        "6.6",
        "-ce +ceba -cebae1 -cebae1bd +cebae1bdb9 -cebae1bdb9cf +cebae1bdb9cf83 -cebae1bdb9cf83ce \
         +cebae1bdb9cf83cebc -cebae1bdb9cf83cebcce +cebae1bdb9cf83cebcceb5",
    ),
    // First possible sequence of a certain length.
    ("6.7", "+00 +c280 +e0a080 +f0908080"),
    // First possible sequence length 5/6 (invalid codepoints).
    ("6.8", "-f888808080 -fc8480808080"),
    // Last possible sequence of a certain length.
    ("6.9", "+7f +dfbf +efbfbf +f48fbfbf"),
    // Last possible sequence length 4/5/6 (invalid codepoints).
    ("6.10", "-f7bfbfbf -fbbfbfbfbf -fdbfbfbfbfbf"),
    // Other boundary conditions.
    ("6.11", "+ed9fbf +ee8080 +efbfbd +f48fbfbf -f4908080"),
    // Unexpected continuation bytes.
    (
        "6.12",
        "-80 -bf -80bf -80bf80 -80bf80bf -80bf80bf80 -80bf80bf80bf \
         -808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbe",
    ),
    // Lonely start characters.
    (
        "6.13",
        "-c020c120c220c320c420c520c620c720c820c920ca20cb20cc20cd20ce20cf20d020d120d220d320d420d520d620d720d820d920da20db20dc20dd20de20 \
         -e020e120e220e320e420e520e620e720e820e920ea20eb20ec20ed20ee20 -f020f120f220f320f420f520f620 \
         -f820f920fa20 -fc20",
    ),
    // Sequences with last continuation byte missing.
    (
        "6.14",
        "-c0 -e080 -f08080 -f8808080 -fc80808080 -df -efbf -f7bfbf -fbbfbfbf -fdbfbfbfbf",
    ),
    // Concatenation of incomplete sequences.
    (
        "6.15",
        "-c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf",
    ),
    // Impossible bytes.
    ("6.16", "-fe -ff -fefeffff"),
    // Examples of an overlong ASCII character.
    ("6.17", "-c0af -e080af -f08080af -f8808080af -fc80808080af"),
    // Maximum overlong sequences.
    ("6.18", "-c1bf -e09fbf -f08fbfbf -f887bfbfbf -fc83bfbfbfbf"),
    // Overlong representation of the NUL character.
    ("6.19", "-c080 -e08080 -f0808080 -f880808080 -fc8080808080"),
    // Single UTF-16 surrogates.
    (
        "6.20",
        "-eda080 -edadbf -edae80 -edafbf -edb080 -edbe80 -edbfbf",
    ),
    // Paired UTF-16 surrogates.
    (
        "6.21",
        "-eda080edb080 -eda080edbfbf -edadbfedb080 -edadbfedbfbf -edae80edb080 -edae80edbfbf -edafbfedb080 \
         -edafbfedbfbf",
    ),
    // Non-character code points (valid UTF-8).
    (
        "6.22",
        "+efbfbe +efbfbf +f09fbfbe +f09fbfbf +f0afbfbe +f0afbfbf +f0bfbfbe +f0bfbfbf +f18fbfbe +f18fbfbf \
         +f19fbfbe +f19fbfbf +f1afbfbe +f1afbfbf +f1bfbfbe +f1bfbfbf +f28fbfbe +f28fbfbf +f29fbfbe \
         +f29fbfbf +f2afbfbe +f2afbfbf +f2bfbfbe +f2bfbfbf +f38fbfbe +f38fbfbf +f39fbfbe +f39fbfbf \
         +f3afbfbe +f3afbfbf +f3bfbfbe +f3bfbfbf +f48fbfbe +f48fbfbf",
    ),
    // Unicode specials (i.e. replacement char).
    (
        "6.23",
        "+efbfb9 +efbfba +efbfbb +efbfbc +efbfbd +efbfbe +efbfbf",
    ),
];

/// A sequence, and how it is named.
pub(crate) struct Sequence {
    pub(crate) name: String,
    pub(crate) valid: bool,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn sequences() -> Vec<Sequence> {
    let groups = GROUPS.iter().flat_map(|(group, list)| {
        list.split_whitespace().enumerate().map(move |(i, entry)| {
            let digits = &entry[1..];
            let bytes = (0..digits.len()).step_by(2);
            let bytes =
                bytes.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits"));
            Sequence {
                name: format!("{group}.{}", i + 1),
                valid: entry.starts_with('+'),
                bytes: bytes.collect(),
            }
        })
    });
    groups.collect()
}
