//! The one trait of all outputs.

use std::io;

use attest_events::Event;

/// Reads the events of one run, in their order, and makes something of them.
pub trait Reader {
    /// The next event.
    ///
    /// # Errors
    /// Where the output goes cannot be written.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// No more events will come: also after a run that broke off without its last event. What is
    /// still held back is written now.
    ///
    /// # Errors
    /// Where the output goes cannot be written.
    fn finish(&mut self) -> io::Result<()>;
}

/// Several readers as one.
#[derive(Default)]
pub struct Readers {
    readers: Vec<Box<dyn Reader + Send>>,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers")
            .field("readers", &self.readers.len())
            .finish()
    }
}

impl Readers {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    pub fn add(&mut self, reader: impl Reader + Send + 'static) {
        self.readers.push(Box::new(reader));
    }

    /// Every reader has its turn, also after one failed; the first error is returned.
    fn each(&mut self, turn: impl Fn(&mut dyn Reader) -> io::Result<()>) -> io::Result<()> {
        self.readers
            .iter_mut()
            .map(|reader| turn(reader.as_mut()))
            .fold(Ok(()), Result::and)
    }
}

impl Reader for Readers {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.each(|reader| reader.event(event))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.each(|reader| reader.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::sample;

    struct Counting(Arc<Mutex<u32>>);

    impl Reader for Counting {
        fn event(&mut self, _: &Event) -> io::Result<()> {
            *self.0.lock().unwrap() += 1;
            Ok(())
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Broken;

    impl Reader for Broken {
        fn event(&mut self, _: &Event) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_broken_reader_does_not_starve_the_others() {
        let count = Arc::new(Mutex::new(0));
        let mut readers = Readers::new();
        readers.add(Broken);
        readers.add(Counting(Arc::clone(&count)));
        let error = readers.event(&sample::events()[0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(*count.lock().unwrap(), 1);
        readers.finish().unwrap();
    }
}
