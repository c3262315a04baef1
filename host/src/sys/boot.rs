//! The clock that also runs while the machine sleeps.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};

/// Time since this boot.
pub fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// A timer on that clock. Its descriptor becomes readable.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// One that rests.
    ///
    /// # Errors
    /// What the system gives.
    pub fn new() -> io::Result<Timer> {
        Ok(Timer(timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?))
    }

    /// Rings at this time since boot; at once when that is past.
    ///
    /// # Errors
    /// What the system gives.
    pub fn set(&self, at: Duration) -> io::Result<()> {
        let at = at.max(Duration::from_nanos(1));
        let spec = |d: Duration| Timespec {
            tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: d.subsec_nanos().into(),
        };
        let timer = Itimerspec { it_interval: spec(Duration::ZERO), it_value: spec(at) };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &timer)?;
        Ok(())
    }
}

impl std::os::fd::AsFd for Timer {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
