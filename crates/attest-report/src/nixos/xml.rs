//! The XML log of the NixOS test driver (`LOGFILE`): `logfile`, `nest`, `head`, `line`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use attest_events::{Attributes, Event, LogLevel};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event as Xml};

use super::parts::{Entry, Parts, finished, title};
use crate::Reader;
use crate::sanitize::sanitize;

/// Writes the log as it grows.
pub struct NixosXml<W: Write> {
    xml: Writer<W>,
    parts: Parts,
    /// Numbers of the open parts, the innermost last; those that have ended while an inner one
    /// goes on are closed with it.
    open: Vec<(u64, bool)>,
    ended: bool,
}

impl<W: Write> std::fmt::Debug for NixosXml<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NixosXml")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl NixosXml<BufWriter<File>> {
    /// Writes to the file, which is made now.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn create(path: &Path, least: LogLevel) -> io::Result<Self> {
        Self::new(BufWriter::new(File::create(path)?), least)
    }
}

impl<W: Write> NixosXml<W> {
    /// Writes to `out` what matters at least that much.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn new(out: W, least: LogLevel) -> io::Result<Self> {
        let mut xml = Writer::new(out);
        xml.write_event(Xml::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
        xml.write_event(Xml::Start(BytesStart::new("logfile")))?;
        Ok(Self {
            xml,
            parts: Parts::new(least),
            open: Vec::new(),
            ended: false,
        })
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.xml.into_inner()
    }

    fn element(
        &mut self,
        name: &str,
        machine: Option<&str>,
        attributes: &[(&str, &str)],
        text: &str,
    ) -> io::Result<()> {
        let mut start = BytesStart::new(name);
        if let Some(machine) = machine {
            start.push_attribute(("machine", machine));
        }
        for (name, value) in attributes {
            start.push_attribute((*name, sanitize(value).as_str()));
        }
        self.xml.write_event(Xml::Start(start))?;
        let text = text.lines().map(sanitize).collect::<Vec<_>>().join("\n");
        self.xml.write_event(Xml::Text(BytesText::new(&text)))?;
        self.xml.write_event(Xml::End(BytesEnd::new(name)))
    }

    fn end_part(&mut self, id: u64) -> io::Result<()> {
        if let Some(part) = self.open.iter_mut().find(|(open, _)| *open == id) {
            part.1 = true;
        }
        while let Some((_, true)) = self.open.last() {
            self.open.pop();
            self.xml.write_event(Xml::End(BytesEnd::new("nest")))?;
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        for _ in self.open.drain(..) {
            self.xml.write_event(Xml::End(BytesEnd::new("nest")))?;
        }
        self.xml.write_event(Xml::End(BytesEnd::new("logfile")))?;
        self.xml.get_mut().flush()
    }
}

/// As pairs; `machine` comes apart.
fn pairs(attributes: Option<&Attributes>) -> Vec<(&str, &str)> {
    attributes
        .into_iter()
        .flatten()
        .filter(|(name, _)| is_name(name) && name.as_str() != "machine")
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// Whether XML takes it as the name of an attribute.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

impl<W: Write> Reader for NixosXml<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match self.parts.entry(event) {
            None => Ok(()),
            Some(Entry::Line {
                machine,
                message,
                attributes,
                ..
            }) => self.element("line", machine, &pairs(attributes), &message),
            Some(Entry::Console { machine, line }) => {
                self.element("line", Some(machine), &[("type", "serial")], line)
            }
            Some(Entry::Began {
                id,
                machine,
                message,
                subtest,
                attributes,
            }) => {
                self.xml.write_event(Xml::Start(BytesStart::new("nest")))?;
                self.open.push((id, false));
                let title = title(message, subtest);
                self.element("head", machine, &pairs(Some(attributes)), &title)
            }
            Some(Entry::Ended {
                id,
                part,
                seconds,
                error,
                ..
            }) => {
                if error.is_none() {
                    self.element("line", None, &[], &finished(&part, seconds))?;
                }
                self.end_part(id)
            }
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.end()
    }
}
