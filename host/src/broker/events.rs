//! The interface `events`: what a module tells those who listen.

use stillpoint_contract::message::{LONGEST_EVENT, LONGEST_KIND};

use super::Broker;

/// Publishes, unless the module has used up its number or the kind is no plain word.
pub fn emit(broker: &mut Broker, kind: &str, mut text: String) {
    let plain = (1..=LONGEST_KIND).contains(&kind.len()) && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if broker.events_left == 0 || !plain {
        broker.refused("event", if plain { "too many" } else { "its kind is no plain word" });
        return;
    }
    broker.events_left -= 1;
    let cut = text.floor_char_boundary(LONGEST_EVENT);
    text.truncate(cut);
    broker.channel.publish(&format!("module.{kind}"), Some(&broker.workload.name), serde_json::json!({ "text": text }));
}
