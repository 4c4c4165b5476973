//! Optimisers: a rule per file over one array; clipping stands apart.
