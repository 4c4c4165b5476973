//! Layers without time: what stands before and after the recurrent layers.
