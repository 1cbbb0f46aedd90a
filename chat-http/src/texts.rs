//! Words on the pages, by language: one file for each under `templates/texts/`.

use std::sync::LazyLock;

use hyper::header::{ACCEPT_LANGUAGE, HeaderMap};
use serde_json::{Map, Value};

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Language {
    #[default]
    English,
    German,
}

/// Languages, the one for readers of none of them first.
const LANGUAGES: [Language; 2] = [Language::English, Language::German];

/// Sections whose texts scripts show too.
const FOR_SCRIPTS: [&str; 2] = ["room", "scripts"];

/// Texts of one language.
pub(crate) struct Texts {
    all: Value,
    for_scripts: String,
}

static TEXTS: LazyLock<[Texts; 2]> = LazyLock::new(|| {
    [
        include_str!("../templates/texts/en.json"),
        include_str!("../templates/texts/de.json"),
    ]
    // A test reads the files.
    .map(|file| Texts::new(serde_json::from_str(file).unwrap_or_default()))
});

impl Language {
    /// Returns the language that a client likes best.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accepted = headers
            .get_all(ACCEPT_LANGUAGE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut best = (0.0, LANGUAGES[0]);
        for (language, quality) in accepted.flat_map(|list| list.split(',')).filter_map(wish) {
            if quality > best.0 {
                best = (quality, language);
            }
        }
        best.1
    }

    /// Returns the tag of the language in HTML and HTTP.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    pub(crate) fn texts(self) -> &'static Texts {
        match self {
            Self::English => &TEXTS[0],
            Self::German => &TEXTS[1],
        }
    }
}

/// Reads one entry of `Accept-Language`, as `de-AT;q=0.8`.
fn wish(entry: &str) -> Option<(Language, f32)> {
    let (tag, rest) = entry.split_once(';').unwrap_or((entry, ""));
    let primary = tag.trim().split('-').next().unwrap_or_default();
    let language = LANGUAGES
        .into_iter()
        .find(|language| primary.eq_ignore_ascii_case(language.tag()))?;
    let quality = match rest.trim().strip_prefix("q=") {
        Some(quality) => quality.parse().ok()?,
        None => 1.0,
    };
    Some((language, quality))
}

impl Texts {
    fn new(all: Value) -> Self {
        let sections = FOR_SCRIPTS
            .iter()
            .filter_map(|name| all.get(name)?.as_object());
        let texts: Map<String, Value> = sections
            .flatten()
            .map(|(key, text)| (key.clone(), text.clone()))
            .collect();
        // Nothing ends the element that it stands in.
        let for_scripts = Value::Object(texts).to_string().replace('<', "\\u003c");
        Self { all, for_scripts }
    }

    /// Returns the texts of a part of the file.
    pub(crate) fn section(&self, name: &str) -> &Value {
        self.all.get(name).unwrap_or(&Value::Null)
    }

    /// Returns one text; an empty one if there is none of this name.
    pub(crate) fn text(&self, section: &str, key: &str) -> &str {
        self.section(section)
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Returns the texts that scripts show, as JSON that may stand in an HTML element.
    pub(crate) fn for_scripts(&self) -> &str {
        &self.for_scripts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn the_language_is_the_one_that_the_reader_likes_best() {
        for (accepted, language) in [
            ("", Language::English),
            ("de", Language::German),
            ("de-AT,de;q=0.9,en;q=0.8", Language::German),
            ("en-GB,en;q=0.9,de;q=0.8", Language::English),
            ("fr, de;q=0.3, en;q=0.2", Language::German),
            ("fr", Language::English),
            ("en;q=0.1, DE", Language::German),
            ("de;q=x", Language::English),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static(accepted));
            assert_eq!(Language::of(&headers), language, "{accepted}");
        }
    }

    /// Keys of all texts, each with those of the parts it is in.
    fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        for (key, value) in value.as_object().expect("an object") {
            let path = format!("{path}/{key}");
            match value {
                Value::String(text) => {
                    assert!(!text.trim().is_empty(), "{path}");
                    found.insert(path);
                }
                value => keys(value, &path, found),
            }
        }
    }

    /// Files of the pages with this ending: name and text.
    fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = std::fs::read_dir(folder).expect("the folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths
            .filter(|path| path.extension().is_some_and(|found| found == ending))
            .map(|path| {
                let text = std::fs::read_to_string(&path).expect("a text");
                (path.display().to_string(), text)
            })
            .collect()
    }

    /// Removes all that stands between two marks, the marks included.
    fn without(text: &str, begin: &str, end: &str) -> String {
        let mut rest = text;
        let mut kept = String::new();
        while let Some((before, after)) = rest.split_once(begin) {
            kept.push_str(before);
            rest = after.split_once(end).map_or("", |(_, rest)| rest);
        }
        kept + rest
    }

    #[test]
    fn templates_hold_no_words() {
        for (name, text) in files("templates", "html") {
            // Logic and values, names of keys, and tags are no words.
            let drawn = without(&without(&text, "{{", "}}"), "{", "}");
            for attribute in ["aria-label=\"", "title=\"", "placeholder=\"", "alt=\""] {
                for value in drawn.split(attribute).skip(1) {
                    let value = value.split('"').next().unwrap_or_default();
                    assert!(!value.contains(char::is_alphabetic), "{name}: {value}");
                }
            }
            let words = without(&without(&drawn, "<kbd>", "</kbd>"), "<", ">");
            assert!(!words.contains(char::is_alphabetic), "{name}: {words}");
        }
    }

    #[test]
    fn every_text_of_a_script_is_there() {
        let texts: Value =
            serde_json::from_str(Language::English.texts().for_scripts()).expect("JSON");
        for (name, script) in files("templates/static", "js") {
            for call in script
                .split(" t(\"")
                .skip(1)
                .chain(script.split("(t(\"").skip(1))
            {
                let key = call.split('"').next().unwrap_or_default();
                assert!(texts.get(key).is_some(), "{name}: {key}");
            }
        }
    }

    #[test]
    fn all_languages_have_the_same_texts() {
        let [english, german] = LANGUAGES.map(|language| {
            let mut found = BTreeSet::new();
            keys(&language.texts().all, "", &mut found);
            found
        });
        assert_eq!(
            english.symmetric_difference(&german).collect::<Vec<_>>(),
            Vec::<&String>::new()
        );
        assert!(!english.is_empty());
    }
}
