//! The operations of a JSON patch.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation};
use serde_json::Value;

/// A path of these steps.
pub fn pointer<S: AsRef<str>>(steps: impl IntoIterator<Item = S>) -> PointerBuf {
    let mut path = PointerBuf::new();
    for step in steps {
        path.push_back(step.as_ref());
    }
    path
}

/// The operation that fails the patch unless `value` is there.
pub fn test(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path, value })
}

/// The operation that removes.
pub fn remove(path: PointerBuf) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path })
}

/// Puts a value where there was none.
pub fn add(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path, value })
}

/// Puts another value in its place.
pub fn replace(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation { path, value })
}
