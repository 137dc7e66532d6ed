use std::fmt::Debug;

use attest_protocol::message::{Control, Failure, Hello, Notice, Request, Response, Welcome};
use minicbor::{Decode, Encode};

/// Every message: what can be read can be written, and says the same again.
pub fn messages(data: &[u8]) {
    again::<Hello>(data);
    again::<Welcome>(data);
    again::<Request>(data);
    again::<Response>(data);
    again::<Control>(data);
    again::<Notice>(data);
    again::<Failure>(data);
}

fn again<T>(data: &[u8])
where
    T: for<'b> Decode<'b, ()> + Encode<()> + PartialEq + Debug,
{
    let Ok(message) = minicbor::decode::<T>(data) else {
        return;
    };
    let bytes = minicbor::to_vec(&message).expect("memory takes it");
    let same: T = minicbor::decode(&bytes).expect("what was written can be read");
    assert_eq!(message, same);
}
