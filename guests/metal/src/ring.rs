//! The arithmetic of a ring of bytes that a device reads out of: what is written, handed to the device,
//! and free again.

/// Positions in a ring of `SIZE` bytes, a power of two. They only grow, and wrap with their type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ring<const SIZE: usize> {
    freed: usize,
    handed: usize,
    written: usize,
}

impl<const SIZE: usize> Ring<SIZE> {
    /// Empty.
    pub const fn new() -> Self {
        assert!(SIZE.is_power_of_two());
        Self {
            freed: 0,
            handed: 0,
            written: 0,
        }
    }

    /// Bytes that can be written.
    pub fn room(&self) -> usize {
        SIZE - self.written.wrapping_sub(self.freed)
    }

    /// Bytes that wait for being handed out.
    pub fn waiting(&self) -> usize {
        self.written.wrapping_sub(self.handed)
    }

    /// Where the next bytes are written, and how many of them in one piece.
    pub fn place(&self) -> (usize, usize) {
        let at = self.written % SIZE;
        (at, self.room().min(SIZE - at))
    }

    /// So many were written.
    pub fn write(&mut self, bytes: usize) {
        self.written = self.written.wrapping_add(bytes);
    }

    /// Where the next bytes are to hand out, and how many of them in one piece.
    pub fn next(&self) -> (usize, usize) {
        let at = self.handed % SIZE;
        (at, self.waiting().min(SIZE - at))
    }

    /// So many were handed out.
    pub fn hand(&mut self, bytes: usize) {
        self.handed = self.handed.wrapping_add(bytes);
    }

    /// So many are no longer needed.
    pub fn free(&mut self, bytes: usize) {
        self.freed = self.freed.wrapping_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_at_the_edge() {
        let mut ring = Ring::<8>::new();
        assert_eq!(ring.place(), (0, 8));
        ring.write(6);
        assert_eq!(
            (ring.room(), ring.place(), ring.next()),
            (2, (6, 2), (0, 6))
        );
        ring.hand(5);
        ring.free(4);
        assert_eq!((ring.room(), ring.waiting()), (6, 1));
        ring.write(2);
        assert_eq!((ring.place(), ring.next()), ((0, 4), (5, 3)));
        ring.write(4);
        assert_eq!((ring.room(), ring.place().1), (0, 0));
        ring.hand(3);
        assert_eq!(ring.next(), (0, 4));
    }
}
