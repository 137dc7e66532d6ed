//! Where the program is wrong, it says so on the serial port and resets.

use core::panic::PanicInfo;

use attest_metal_guest::text::Text;

use crate::{end, serial};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut text = Text::<160>::new();
    text.put(b"the guest's own fault: ");
    if let Some(place) = info.location() {
        text.put(place.file().as_bytes())
            .put(b":")
            .decimal(place.line().into());
    }
    text.put(b"\r\n");
    serial::print(text.bytes());
    end::reset()
}

/// An exception, with the words on top of its stack: the place, after an error code for some.
pub(crate) fn fault(first: u64, second: u64) -> ! {
    let mut text = Text::<80>::new();
    text.put(b"exception at ")
        .hex(first, 16)
        .put(b" ")
        .hex(second, 16)
        .put(b"\r\n");
    serial::print(text.bytes());
    end::reset()
}
