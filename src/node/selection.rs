//! Which devices of the node the agent reads. Pure.

use crate::gpu::{Device, id::Id};

/// The devices to read.
#[derive(Clone, Debug, Default)]
pub(super) struct DeviceSelection {
    /// Each ID with its text; empty if all devices are read.
    ids: Vec<(String, Id)>,
}

// === impl DeviceSelection ===

impl DeviceSelection {
    /// The devices with these IDs. A card includes its slices. Without an ID all devices are read.
    ///
    /// # Errors
    /// Fails if a text is not an ID.
    pub(super) fn parse(texts: &[String]) -> Result<Self, String> {
        let id = |text: &String| {
            let id = Id::parse(text.trim()).map(|id| (text.trim().to_owned(), id));
            id.ok_or_else(|| {
                format!("--devices has {text:?}; use UUIDs such as GPU-<uuid> or MIG-<uuid>, or indices, separated by commas")
            })
        };
        Ok(Self { ids: texts.iter().map(id).collect::<Result<_, _>>()? })
    }

    /// The indices of the devices to read.
    pub(super) fn indices(&self, devices: &[Device]) -> Vec<usize> {
        (0..devices.len()).filter(|index| self.includes(devices, *index)).collect()
    }

    /// The IDs that name none of these devices.
    pub(super) fn without_device(&self, devices: &[Device]) -> Vec<&str> {
        let absent = self.ids.iter().filter(|(_, id)| !id.is_among(devices));
        absent.map(|(text, _)| &**text).collect()
    }

    fn includes(&self, devices: &[Device], index: usize) -> bool {
        let card = devices.iter().position(|device| device.uuid == devices[index].card());
        let names = |id: &Id| id.names(devices, index) || card.is_some_and(|card| id.names(devices, card));
        self.ids.is_empty() || self.ids.iter().any(|(_, id)| names(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Slice;

    /// Two cards, and two slices of the second.
    fn devices() -> Vec<Device> {
        let uuid = |kind: &str, digit: u32| format!("{kind}-{digit}0000000-0000-0000-0000-000000000000");
        let card =
            |index| Device { uuid: uuid("GPU", index), index, mig_enabled: index == 1, ..Device::default() };
        let slice = |index| {
            let slice = Slice { card: uuid("GPU", 1), index, ..Slice::default() };
            Device { uuid: uuid("MIG", index + 2), index: 1, slice: Some(slice), ..Device::default() }
        };
        vec![card(0), card(1), slice(0), slice(1)]
    }

    fn selected(texts: &[&str]) -> Result<Vec<usize>, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        DeviceSelection::parse(&texts).map(|selection| selection.indices(&devices()))
    }

    #[test]
    fn a_card_includes_its_slices_and_without_ids_all_devices_are_read() {
        assert_eq!(selected(&[]), Ok(vec![0, 1, 2, 3]));
        assert_eq!(selected(&["0"]), Ok(vec![0]));
        assert_eq!(selected(&["GPU-10000000-0000-0000-0000-000000000000"]), Ok(vec![1, 2, 3]));
        assert_eq!(selected(&["MIG-30000000-0000-0000-0000-000000000000", " 0"]), Ok(vec![0, 3]));
        assert_eq!(selected(&["7"]), Ok(vec![]));
        assert!(selected(&["card0"]).unwrap_err().starts_with("--devices has \"card0\"; use"));
    }

    #[test]
    fn an_id_without_a_device_is_reported() {
        let texts = ["0", "7"].map(str::to_owned);
        assert_eq!(DeviceSelection::parse(&texts).unwrap().without_device(&devices()), ["7"]);
    }
}
