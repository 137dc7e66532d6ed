//! What a machine that goes on is told before anything else: what must not be as it was when it was saved, for others
//! go on from the same.

use std::sync::Arc;
use std::time::Duration;

use attest_protocol::link::{Channel, HostLink};
use attest_protocol::message::{Request, Setup};
use tokio::time::Instant;

use super::follow::{begin, result_of};
use crate::error::Error;
use crate::session::Session;
use crate::setup;

/// How far the clock of a guest that goes on may be from the host's: less than half of what is promised (50 ms).
const CLOCK_ERROR: Duration = Duration::from_millis(20);
/// How often it is set, at most, on a host that is too busy for that.
const CLOCK_TRIES: usize = 8;

/// New randomness, and the time. `Err(None)` when the link broke.
///
/// The agent does both before it begins what it is asked next, so nobody waits for its answers: an emulated guest has none
/// of its code at hand, and takes 20 ms for the first.
pub(super) fn up(link: &HostLink, session: &Arc<Session>) -> Result<(), Option<Error>> {
    let fresh = setup::freshen(Setup::default());
    let reseed = Request::Reseed(fresh.entropy.unwrap_or_else(|| Vec::new().into()));
    let reseeding = begin(link, &reseed)?;
    let (asked, setting) = set_clock(link)?;
    let (link, session) = (link.clone(), Arc::clone(session));
    tokio::spawn(async move {
        if let Err(Some(error)) = result_of(&session, reseeding).await {
            session.breaks(error);
        }
        // A link that breaks tells why by itself.
        let _ = correct_clock(&link, &session, asked, setting).await;
    });
    Ok(())
}

fn set_clock(link: &HostLink) -> Result<(Instant, Channel), Option<Error>> {
    let asked = Instant::now();
    let channel = begin(link, &Request::SetClock(setup::wall_clock_ns()))?;
    Ok((asked, channel))
}

/// A clock that is set is behind by no more than the request took.
async fn correct_clock(
    link: &HostLink,
    session: &Session,
    mut asked: Instant,
    mut setting: Channel,
) -> Result<(), Option<Error>> {
    for _ in 0..CLOCK_TRIES {
        result_of(session, setting).await?;
        if asked.elapsed() <= CLOCK_ERROR {
            break;
        }
        (asked, setting) = set_clock(link)?;
    }
    Ok(())
}
