// Heads are turned as the product has them, in a scale of their kind.
fn form_head(first: u32, kind: u32, head: u32, scale: Scale) -> Scale {
    return scale;
}
