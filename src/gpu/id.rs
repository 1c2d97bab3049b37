//! Parses the device IDs that Kubernetes, its device plugins and container runtimes use. Pure.

use super::values::Device;

/// ID of a device in one of the forms that [`Id::parse`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    form: Form,
    /// Whether the ID names a replica of a device. A device with replicas is shared by time slicing or MPS.
    pub is_replica: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// A card or slice by its UUID with the prefix `GPU-` or `MIG-`.
    Uuid(String),
    /// A card by its index in the driver's order.
    Index(u32),
    /// A card by the number of its device file (GKE).
    Minor(u32),
    /// A slice by its card's UUID, GPU instance and compute instance (drivers before 470).
    SliceOfUuid(String, u32, u32),
    /// A slice by the number of its card's device file and by its GPU instance (GKE).
    SliceOfMinor(u32, u32),
}

/// Maximum number of IDs in one list. No session has more devices. The limit is necessary because the list comes from a pod's
/// annotation.
const MAX_IDS: usize = 64;

/// Parses a list of IDs, separated by commas or white space.
///
/// # Errors
/// Fails with the first name that is not an ID, or that is one too many: a part of a list would be another list.
pub fn list(text: &str) -> Result<Vec<Id>, &str> {
    let names = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|name| !name.is_empty());
    let parse = |(number, name)| Id::parse(name).filter(|_| number < MAX_IDS).ok_or(name);
    names.take(MAX_IDS + 1).enumerate().map(parse).collect()
}

// === impl Id ===

impl Id {
    /// Parses one ID. Returns none if the text has none of these forms:
    ///
    /// * `GPU-<uuid>` and `MIG-<uuid>`; a replica has `::<n>` at the end
    /// * `MIG-GPU-<uuid>/<gi>/<ci>` (drivers before 470)
    /// * `nvidia<n>` and `nvidia<n>/gi<m>` (GKE); a replica has `/vgpu<k>` at the end
    /// * `<n>`
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (name, replica) =
            name.split_once("::").map_or((name, None), |(name, number)| (name, Some(number)));
        if replica.is_some_and(|number| number.parse::<u32>().is_err()) {
            return None;
        }
        let (name, is_gke_replica) = match name.rsplit_once("/vgpu") {
            Some((name, number)) if name.starts_with("nvidia") && number.parse::<u32>().is_ok() => {
                (name, true)
            }
            _ => (name, false),
        };
        Some(Self { form: Form::parse(name)?, is_replica: replica.is_some() || is_gke_replica })
    }

    /// Parses an ID that is a UUID; returns none for the other forms.
    #[must_use]
    pub fn uuid(name: &str) -> Option<Self> {
        Self::parse(name).filter(|id| id.as_uuid().is_some())
    }

    /// The UUID with its prefix; none if the ID has another form.
    #[must_use]
    pub fn as_uuid(&self) -> Option<&str> {
        match &self.form {
            Form::Uuid(uuid) => Some(uuid),
            _ => None,
        }
    }

    /// Whether the ID names one of these devices.
    #[must_use]
    pub fn is_among(&self, devices: &[Device]) -> bool {
        devices.iter().any(|device| self.is(device))
    }

    /// Whether the ID names this device.
    #[must_use]
    pub fn is(&self, device: &Device) -> bool {
        let slice = device.slice.as_ref();
        match &self.form {
            Form::Uuid(uuid) => device.uuid.eq_ignore_ascii_case(uuid),
            Form::Index(index) => slice.is_none() && device.index == *index,
            Form::Minor(minor) => slice.is_none() && device.minor == Some(*minor),
            Form::SliceOfUuid(card, gpu, compute) => slice.is_some_and(|slice| {
                slice.card.eq_ignore_ascii_case(card)
                    && (slice.gpu_instance, slice.compute_instance) == (Some(*gpu), Some(*compute))
            }),
            Form::SliceOfMinor(minor, gpu) => {
                slice.is_some_and(|slice| device.minor == Some(*minor) && slice.gpu_instance == Some(*gpu))
            }
        }
    }
}

// === impl Form ===

impl Form {
    fn parse(name: &str) -> Option<Self> {
        if let Some(slice) = name.strip_prefix("MIG-").filter(|rest| rest.starts_with("GPU-")) {
            let (card, instances) = slice.split_once('/')?;
            let (gpu, compute) = instances.split_once('/')?;
            let (gpu, compute) = (gpu.parse().ok()?, compute.parse().ok()?);
            return is_uuid(card.strip_prefix("GPU-")?)
                .then(|| Self::SliceOfUuid(card.to_owned(), gpu, compute));
        }
        if let Some(uuid) = name.strip_prefix("GPU-").or_else(|| name.strip_prefix("MIG-")) {
            return is_uuid(uuid).then(|| Self::Uuid(name.to_owned()));
        }
        let Some(file) = name.strip_prefix("nvidia") else {
            return name.parse().ok().map(Self::Index);
        };
        match file.split_once("/gi") {
            Some((card, instance)) => Some(Self::SliceOfMinor(card.parse().ok()?, instance.parse().ok()?)),
            None => file.parse().ok().map(Self::Minor),
        }
    }
}

/// Whether the text is 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::values::Slice;

    const CARD: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
    const SLICE: &str = "MIG-9a1f0c77-52de-5c1b-8e43-0b6d2f7a4c19";

    fn card() -> Device {
        Device { uuid: CARD.to_owned(), index: 2, minor: Some(5), ..Device::default() }
    }

    fn slice() -> Device {
        let slice = Slice { card: CARD.to_owned(), gpu_instance: Some(7), compute_instance: Some(0) };
        Device { uuid: SLICE.to_owned(), slice: Some(slice), ..card() }
    }

    #[test]
    fn every_form_matches_only_its_device() {
        for (name, is_slice, is_replica) in [
            (CARD.to_owned(), false, false),
            (CARD.to_uppercase(), false, false),
            (format!("{CARD}::3"), false, true),
            (SLICE.to_owned(), true, false),
            (format!("{SLICE}::0"), true, true),
            (format!("MIG-{CARD}/7/0"), true, false),
            ("nvidia5".to_owned(), false, false),
            ("nvidia5/vgpu3".to_owned(), false, true),
            ("nvidia5/gi7".to_owned(), true, false),
            ("nvidia5/gi7/vgpu1".to_owned(), true, true),
            ("2".to_owned(), false, false),
        ] {
            let id = Id::parse(&name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!((id.is(&card()), id.is(&slice())), (!is_slice, is_slice), "{name}");
            assert_eq!(id.is_replica, is_replica, "{name}");
        }
    }

    #[test]
    fn numbers_of_different_meaning_are_not_confused() {
        for name in [
            format!("MIG-{CARD}/7/1"),
            format!("MIG-{CARD}/0/0"),
            "nvidia2/gi7".to_owned(),
            "nvidia2".to_owned(),
            "5".to_owned(),
        ] {
            let id = Id::parse(&name).unwrap_or_else(|| panic!("{name}"));
            assert!(!id.is(&card()) && !id.is(&slice()), "{name}");
        }
    }

    #[test]
    fn texts_of_other_forms_are_rejected() {
        let bad = [
            "",
            "all",
            "void",
            "none",
            "GPU-1",
            "GPU-",
            "nvidia",
            "nvidiaX",
            "nvidia0/gi",
            "-1",
            "/var/run/x",
        ];
        for name in bad.into_iter().map(str::to_owned).chain([
            format!("{CARD}::x"),
            format!("MIG-{CARD}/7"),
            format!("{CARD}/vgpu1"),
        ]) {
            assert_eq!(Id::parse(&name), None, "{name}");
        }
    }

    #[test]
    fn list_returns_all_ids_or_the_first_invalid_name() {
        assert_eq!(list(&format!("{CARD}, {SLICE}\n")).unwrap().len(), 2);
        assert_eq!(list(""), Ok(vec![]));
        assert_eq!(list("0,gpu,x"), Err("gpu"));
    }

    #[test]
    fn a_list_that_is_too_long_is_not_read_in_part() {
        let numbers = |count: usize| (0..count).map(|number| format!("{number},")).collect::<String>();
        assert_eq!(list(&numbers(MAX_IDS)).map(|ids| ids.len()), Ok(MAX_IDS));
        assert_eq!(list(&numbers(MAX_IDS + 1)), Err("64"));
    }
}
