//! Errors in words for people.
//!
//! The details of errors are written for programs, and name the field. The texts of a language have
//! a sentence for each that a person may cause.

use std::borrow::Cow;

use crate::texts::Language;

/// Returns the sentence for an error; its detail where there is none.
pub(super) fn in_words(language: Language, detail: &str) -> Cow<'_, str> {
    match language.texts().text("errors", detail) {
        "" => Cow::Borrowed(detail),
        sentence => Cow::Borrowed(sentence),
    }
}
