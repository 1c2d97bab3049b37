//! Reads the pod's annotations, in the format in which the kubelet writes them (downward API).

use std::path::Path;

use super::read::{self, Unreadable};
use crate::{
    contract::{annotation_file::value, key},
    sidecar::attribution::{Annotations, Sharing},
};

/// The annotations in the file. Without the file there are none.
pub(super) fn read(file: &Path) -> Result<Annotations, Unreadable> {
    let text = read::file(file)?.unwrap_or_default();
    parse(&String::from_utf8_lossy(&text)).map_err(|why| Unreadable::invalid(file, why))
}

fn parse(text: &str) -> Result<Annotations, String> {
    Ok(Annotations {
        gpu: value(text, key::GPU)?.map(str::to_owned),
        sharing: value(text, key::GPU_SHARING)?.map(Sharing::of_annotation),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(text: &str) -> (Option<String>, Option<Sharing>) {
        let Annotations { gpu, sharing } = parse(text).unwrap();
        (gpu, sharing)
    }

    #[test]
    fn an_annotation_is_read_as_the_downward_api_writes_it() {
        let text = "a=\"line\\nvdi-metrics.io/gpu=\\\"x\"\nvdi-metrics.io/gpu=\"GPU-1,GPU-2\"\nvdi-metrics.io/gpu-sharing=\"mps\"";
        assert_eq!(annotations(text), (Some("GPU-1,GPU-2".to_owned()), Some(Sharing::Mps)));
        assert_eq!(annotations(""), (None, None));
    }

    #[test]
    fn an_invalid_value_is_not_an_absent_annotation() {
        let text = "vdi-metrics.io/gpu=\"a\\\"b\"\nvdi-metrics.io/gpu-sharing=\"timeslicing\"";
        assert_eq!(annotations(text), (Some("a\\\"b".to_owned()), Some(Sharing::Unknown)));
    }

    #[test]
    fn a_value_without_its_end_is_unreadable() {
        assert!(
            parse("vdi-metrics.io/gpu=\"GPU-1").is_err() && parse("vdi-metrics.io/gpu-sharing=\"").is_err()
        );
    }

    #[test]
    fn a_file_that_ends_before_the_annotation_is_unreadable() {
        for text in ["a=\"x\"\nvdi-metrics.io/gp", "a=\"x\"\nb=\"lo", "a=\"x\"\nb=", "\0\0"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(annotations("a=\"x\"\n"), (None, None));
    }
}
