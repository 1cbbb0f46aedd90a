//! A page of a sorted list.

/// The part of a sorted list of names that follows `after`, of at most `limit` names.
#[derive(Debug, Clone)]
pub(crate) struct Page<T> {
    /// The last name of the page before; `None` for the first page.
    pub(crate) after: Option<T>,
    pub(crate) limit: u32,
}
