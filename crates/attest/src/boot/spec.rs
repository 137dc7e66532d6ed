//! From a declared image to what its builder takes.

use attest_image::root::{
    NewContent, NewFile, NewUser, OwnKernel, Profile, RootFormat, RootSource, RootSpec, Units,
};
use attest_image::source::Debian;
use attest_manifest::{
    self as manifest, FileContent, FilePlan, KernelPlan, SourcePlan, SystemPlan,
};

/// What is to be built; `None` for a disk that is ready.
pub(super) fn root(plan: &SystemPlan) -> Option<RootSpec> {
    Some(RootSpec {
        name: plan.name.clone(),
        source: source(&plan.source)?,
        profile: match plan.profile {
            manifest::Profile::Lean => Profile::Lean,
            manifest::Profile::Full => Profile::Full,
        },
        users: plan.users.iter().map(user).collect(),
        files: plan.files.iter().map(file).collect(),
        units: Units {
            enable: plan.units.enable.clone(),
            disable: plan.units.disable.clone(),
            mask: plan.units.mask.clone(),
        },
        run: plan.run.clone(),
        format: match plan.format {
            manifest::RootFormat::Erofs => RootFormat::Erofs,
            manifest::RootFormat::Ext4 => RootFormat::Ext4,
        },
        init: plan.init.clone(),
        kernel: match plan.kernel {
            KernelPlan::Image => OwnKernel::BroughtOut,
            KernelPlan::Auto | KernelPlan::Path(_) => OwnKernel::Ignored,
        },
    })
}

fn source(plan: &SourcePlan) -> Option<RootSource> {
    Some(match plan {
        SourcePlan::Debian(debian) => RootSource::Debian(Debian {
            suite: debian.suite.clone(),
            packages: debian.packages.clone(),
            mirror: debian.mirror.clone(),
            components: debian.components.clone(),
        }),
        SourcePlan::Directory(path) => RootSource::Directory(path.clone()),
        SourcePlan::Tar(path) => RootSource::Tar(path.clone()),
        SourcePlan::Oci(path) => RootSource::Oci(path.clone()),
        SourcePlan::Nix(path) => RootSource::Nix(path.clone()),
        SourcePlan::Disk(_) => return None,
    })
}

fn user((name, user): &(String, manifest::User)) -> NewUser {
    NewUser {
        name: name.clone(),
        uid: user.uid,
        gid: user.gid,
        home: user.home.clone(),
        shell: user.shell.clone(),
        groups: user.groups.clone(),
        password_hash: user.password_hash.clone(),
    }
}

fn file(plan: &FilePlan) -> NewFile {
    NewFile {
        // Manifests are text, so their paths are.
        path: plan.path.to_string_lossy().into_owned(),
        content: match &plan.content {
            FileContent::Text(text) => NewContent::Text(text.clone()),
            FileContent::Source(path) => NewContent::Host(path.clone()),
        },
        // Of 32 bits; the planner lets no others be set.
        mode: plan.mode.map(|mode| (mode & 0o7777) as u16),
    }
}
