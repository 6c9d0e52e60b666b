//! The files of a configuration, and places in them.

use std::ops::Range;

use super::diagnostic::Finding;
use super::source;

/// One of the files that were read for a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(usize);

impl FileId {
    /// The file that was named; others are read because of it.
    pub const MAIN: FileId = FileId(0);

    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// Bytes of a file's text. Spans are in the order in which findings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Whose text.
    pub file: FileId,
    /// The first byte.
    pub start: usize,
    /// The byte behind the last one; not below `start`.
    pub end: usize,
}

impl Span {
    /// The bytes.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    pub(super) fn in_file(self, file: FileId) -> Span {
        Span { file, ..self }
    }
}

/// A reader of a table sees only the text that the table is in, and reports ranges of it. What has read a whole file
/// then says which one it was (`Finding::in_file`).
impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Span {
        Span {
            file: FileId::MAIN,
            start: range.start,
            end: range.end,
        }
    }
}

/// A file that was read.
#[derive(Debug)]
pub struct File {
    name: String,
    text: String,
    /// Why the text is not what was read.
    undecodable: Option<Finding>,
}

impl File {
    /// The path, as it is shown.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text; what could be read of it, where it is no UTF-8.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn undecodable(&self) -> Option<&Finding> {
        self.undecodable.as_ref()
    }
}

/// The files of one configuration, the main one first.
#[derive(Debug)]
pub struct Files(Vec<File>);

impl Files {
    /// The main file alone, as it was read.
    pub fn of(name: impl Into<String>, content: Vec<u8>) -> Files {
        let mut files = Files(Vec::new());
        files.add(name, content);
        files
    }

    /// Adds a file that was read because of another one.
    pub fn add(&mut self, name: impl Into<String>, content: Vec<u8>) -> FileId {
        let id = FileId(self.0.len());
        let (text, undecodable) = match source::decode(content) {
            Ok(text) => (text, None),
            Err(undecoded) => {
                let source::Undecoded { text, finding } = *undecoded;
                (text, Some(finding.in_file(id)))
            }
        };
        self.0.push(File {
            name: name.into(),
            text,
            undecodable,
        });
        id
    }

    /// A file of these.
    pub fn get(&self, id: FileId) -> &File {
        &self.0[id.index()]
    }

    /// All, with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &File)> {
        let ids = (0..).map(FileId);
        ids.zip(&self.0)
    }
}
