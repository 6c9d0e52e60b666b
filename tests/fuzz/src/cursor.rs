//! Bytes read as decisions. Past their end every decision is 0, so that each input means something.

pub struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes }
    }

    pub fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// True in one of `of` cases.
    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == of - 1
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// The next `count` bytes, or what is left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(count.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }
}

/// More portions take time and show nothing new.
const MAX_PORTIONS: usize = 256;

/// Portions of these sizes in turn, each at least a byte and at most `most`.
pub fn portions<'a>(bytes: &'a [u8], sizes: &[u8], most: usize) -> Vec<&'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    let mut portions = Vec::new();
    let least = bytes.len() / MAX_PORTIONS + 1;
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = sizes.next().map_or(1, |size| usize::from(*size) + 1);
        // Square, so that long inputs do not come byte by byte only.
        let (portion, after) = rest.split_at((size * size).max(least).min(most).min(rest.len()));
        portions.push(portion);
        rest = after;
    }
    portions
}
