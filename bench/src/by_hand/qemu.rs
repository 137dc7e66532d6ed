//! Virtual machines: QEMU with what attest chose for its own, but for the agent and the channel to it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;

const KEPT: [&str; 7] = [
    "-machine", "-accel", "-cpu", "-smp", "-m", "-action", "-kernel",
];

/// What QEMU is started with: attest's own command line, and what is not kept of it.
pub(crate) struct Started<'a> {
    pub(crate) attests: &'a [String],
    /// In the place of attest's; the kernel may be another, too.
    pub(crate) kernel: Option<&'a Path>,
    pub(crate) initrd: &'a Path,
    /// For the kernel, after attest's words.
    pub(crate) words: &'a str,
    /// Images that are only read, in their order.
    pub(crate) disks: &'a [&'a Path],
}

impl Started<'_> {
    /// Its console is stdout.
    pub(crate) fn command(&self) -> Result<Command> {
        let (program, arguments) = self
            .attests
            .split_first()
            .ok_or("QEMU has no command line")?;
        let mut command = Command::new(program);
        command.args(["-no-user-config", "-nodefaults", "-display", "none"]);
        for pair in arguments.windows(2) {
            let [option, value] = pair else { continue };
            match option.as_str() {
                "-kernel" if self.kernel.is_some() => {}
                // The board wants its memory by this name.
                "-m" => {
                    let memory = format!("memory-backend-ram,id=ram,size={value}");
                    command.args(["-object", &memory]).args(pair);
                }
                "-append" => {
                    // What is for the agent is not for a kernel.
                    let kept = value.split(' ').filter(|word| !word.starts_with("attest."));
                    let kept: Vec<&str> = kept.chain([self.words]).collect();
                    command.args([option, &kept.join(" ")]);
                }
                option if KEPT.contains(&option) => {
                    command.args(pair);
                }
                _ => {}
            }
        }
        if let Some(kernel) = self.kernel {
            command.arg("-kernel").arg(kernel);
        }
        command.arg("-initrd").arg(self.initrd);
        command.args(["-serial", "stdio", "-device", &self.device("rng")]);
        for (number, disk) in self.disks.iter().enumerate() {
            let file = disk.display();
            command.arg("-blockdev").arg(format!(
                "raw,node-name=disk{number},read-only=on,file.driver=file,file.filename={file}"
            ));
            let device = format!("{},drive=disk{number}", self.device("blk"));
            command.args(["-device", &device]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::null());
        Ok(command)
    }

    /// A virtio device as the board takes it.
    pub(crate) fn device(&self, kind: &str) -> String {
        let mut pairs = self.attests.windows(2);
        let is_microvm = pairs.any(|pair| pair[0] == "-machine" && pair[1].starts_with("microvm"));
        let bus = if is_microvm { "device" } else { "pci" };
        format!("virtio-{kind}-{bus}")
    }
}
