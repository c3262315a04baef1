//! The module's logic is not written yet; its manifest is, and this proves that the host would read it.

#[cfg(test)]
mod tests {
    #[test]
    fn the_manifest_is_whole() {
        stillpoint_contract::Manifest::parse(include_str!("../module.toml")).expect("the manifest");
    }
}
