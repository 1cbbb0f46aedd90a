//! Keys, as each protocol names them.

use serde_json::{Value, json};

/// A key that writes no character of its own: its name, its Windows code, and its character in
/// WebDriver.
struct Named {
    name: &'static str,
    code: u16,
    webdriver: char,
}

const NAMED: [Named; 13] = [
    named("Enter", 13, '\u{E007}'),
    named("Escape", 27, '\u{E00C}'),
    named("Tab", 9, '\u{E004}'),
    named("Backspace", 8, '\u{E003}'),
    named("Delete", 46, '\u{E017}'),
    named("ArrowUp", 38, '\u{E013}'),
    named("ArrowDown", 40, '\u{E015}'),
    named("ArrowLeft", 37, '\u{E012}'),
    named("ArrowRight", 39, '\u{E014}'),
    named("Home", 36, '\u{E011}'),
    named("End", 35, '\u{E010}'),
    named("PageUp", 33, '\u{E00E}'),
    named("PageDown", 34, '\u{E00F}'),
];

const fn named(name: &'static str, code: u16, webdriver: char) -> Named {
    Named {
        name,
        code,
        webdriver,
    }
}

/// Modifiers: the name, the bit in DevTools, the character in WebDriver.
const MODIFIERS: [(&str, u8, char); 4] = [
    ("Alt", 1, '\u{E00A}'),
    ("Control", 2, '\u{E009}'),
    ("Meta", 4, '\u{E03D}'),
    ("Shift", 8, '\u{E008}'),
];

/// One press of a key with the modifiers held.
pub(super) struct Stroke {
    modifiers: Vec<(u8, char)>,
    key: Key,
}

enum Key {
    Character(char),
    Named(&'static Named),
}

impl Stroke {
    /// Reads a chord such as `Control+k`, `Shift+Enter` or `?`.
    ///
    /// # Panics
    ///
    /// If it names a key that is not listed here.
    pub(super) fn parse(chord: &str) -> Self {
        let mut modifiers = Vec::new();
        let mut rest = chord;
        while let Some((first, more)) = rest.split_once('+').filter(|(_, more)| !more.is_empty()) {
            let found = MODIFIERS.iter().find(|(name, ..)| *name == first);
            let (_, bit, webdriver) = found.unwrap_or_else(|| panic!("no modifier {first}"));
            modifiers.push((*bit, *webdriver));
            rest = more;
        }

        let mut characters = rest.chars();
        let key = match (characters.next(), characters.next()) {
            (Some(character), None) => Key::Character(character),
            _ => {
                let found = NAMED.iter().find(|named| named.name == rest);
                Key::Named(found.unwrap_or_else(|| panic!("no key {rest}")))
            }
        };
        Self { modifiers, key }
    }

    /// Reads a text, where a newline is the Enter key.
    pub(super) fn of_text(text: &str) -> impl Iterator<Item = Self> {
        text.chars().map(|character| match character {
            '\n' => Self::parse("Enter"),
            _ => Self {
                modifiers: Vec::new(),
                key: Key::Character(character),
            },
        })
    }

    /// Commands of the DevTools protocol: method and parameters.
    pub(super) fn devtools(&self) -> Vec<(&'static str, Value)> {
        let bits = self.modifiers.iter().fold(0, |bits, (bit, _)| bits | bit);
        let is_command = bits & !8 != 0;
        let (name, code, text) = match &self.key {
            Key::Named(named) => {
                let text = if named.name == "Enter" { "\r" } else { "" };
                (named.name.to_owned(), named.code, text.to_owned())
            }
            // As an input method writes it.
            Key::Character(character) if !character.is_ascii() => {
                return vec![("Input.insertText", json!({ "text": character.to_string() }))];
            }
            Key::Character(character) => {
                // The codes of other characters are those of other keys.
                let is_code = character.is_ascii_alphanumeric() || *character == ' ';
                let upper = u32::from(character.to_ascii_uppercase());
                let code = u16::try_from(upper).ok().filter(|_| is_code).unwrap_or(0);
                (character.to_string(), code, character.to_string())
            }
        };

        let mut down = json!({
            "type": "rawKeyDown", "key": name, "code": self.code(),
            "windowsVirtualKeyCode": code, "modifiers": bits,
        });
        let mut up = down.clone();
        up["type"] = json!("keyUp");
        if !is_command && !text.is_empty() {
            down["type"] = json!("keyDown");
            down["text"] = json!(text);
        }
        if bits == 2 && name == "a" {
            down["commands"] = json!(["selectAll"]);
        }
        vec![
            ("Input.dispatchKeyEvent", down),
            ("Input.dispatchKeyEvent", up),
        ]
    }

    /// Name of the key on an English keyboard.
    fn code(&self) -> String {
        match self.key {
            Key::Named(named) => named.name.to_owned(),
            Key::Character(' ') => "Space".to_owned(),
            Key::Character(letter) if letter.is_ascii_alphabetic() => {
                format!("Key{}", letter.to_ascii_uppercase())
            }
            Key::Character(digit) if digit.is_ascii_digit() => format!("Digit{digit}"),
            Key::Character(_) => String::new(),
        }
    }

    /// Actions of WebDriver.
    pub(super) fn webdriver(&self) -> Vec<Value> {
        let key = match self.key {
            Key::Named(named) => named.webdriver,
            Key::Character(character) => character,
        };
        let modifiers = self.modifiers.iter().map(|(_, webdriver)| *webdriver);
        let pressed: Vec<_> = modifiers.chain([key]).collect();
        let down = pressed
            .iter()
            .map(|key| json!({ "type": "keyDown", "value": key }));
        let up = pressed
            .iter()
            .rev()
            .map(|key| json!({ "type": "keyUp", "value": key }));
        down.chain(up).collect()
    }
}
