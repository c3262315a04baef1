//! The interface `log`: lines for the cycle's record, kept in bounded memory.

use stillpoint_contract::message::{LONGEST_TEXT, Severity};

use super::{Broker, LogLine};

/// Keeps a line, unless the module has used up its number.
pub fn write(broker: &mut Broker, severity: Severity, mut text: String) {
    if broker.lines_left == 0 {
        broker.refused("log", "too many");
        return;
    }
    broker.lines_left -= 1;
    let cut = text.floor_char_boundary(LONGEST_TEXT);
    text.truncate(cut);
    broker.log.push(LogLine { phase: broker.phase, severity, text });
}
