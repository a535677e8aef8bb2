//! What not every observer may read.

/// Something that only findings need, so that nobody has to give the right to read it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Optional<T> {
    /// It may not be read, or not all of it, so that nothing can be said.
    #[default]
    Unknown,
    /// It may be read, and could not be this time: what was said of it stands.
    Missed,
    /// It.
    Known(T),
}

impl<T> Optional<T> {
    /// It, if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(own) => Some(own),
            Self::Unknown | Self::Missed => None,
        }
    }

    /// Whether only this look failed.
    pub fn is_missed(&self) -> bool {
        matches!(self, Self::Missed)
    }
}

impl<T> From<Option<T>> for Optional<T> {
    fn from(own: Option<T>) -> Self {
        own.map_or(Self::Unknown, Self::Known)
    }
}
