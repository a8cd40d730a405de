use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// File systems that other machines can write to as well. SQLite's locks and its shared memory do not reach there, so a
/// database on one can be destroyed.
const SHARED: [&str; 22] = [
    "9p",
    "acfs",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "fuse.ceph",
    "fuse.davfs",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "gfs2",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
];

/// The kind of network file system that `folder` is on, if it is on one and the system says so.
pub(crate) fn network_file_system(folder: &Path) -> io::Result<Option<String>> {
    let device = fs::metadata(folder)?.dev();
    // Without /proc nothing can be detected, and nothing is claimed.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(kind_of(&mounts, device).filter(|kind| SHARED.contains(kind)).map(str::to_owned))
}

/// The kind of the file system of a device, as proc(5) describes `mountinfo`: the third field is `major:minor`, and the
/// kind comes first behind the separator.
fn kind_of(mounts: &str, device: u64) -> Option<&str> {
    let (major, minor) = (major(device), minor(device));
    let device = format!("{major}:{minor}");
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (before.split(' ').nth(2)? == device).then(|| after.split(' ').next())?
    })
}

/// As the C library's `major` and `minor` take a device number apart.
fn major(device: u64) -> u64 {
    ((device >> 8) & 0xfff) | ((device >> 32) & 0xffff_f000)
}

fn minor(device: u64) -> u64 {
    (device & 0xff) | ((device >> 12) & 0xffff_ff00)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
64 25 0:52 / /mnt/share rw,relatime shared:30 master:1 - nfs4 server:/export rw,vers=4.2
65 25 0:53 / /mnt/with\\040space rw - fuse.sshfs somebody@host: rw
";

    #[test]
    fn the_kind_of_a_device_is_found() {
        assert_eq!(kind_of(MOUNTS, 254 << 8), Some("ext4"));
        assert_eq!(kind_of(MOUNTS, 52), Some("nfs4"));
        assert_eq!(kind_of(MOUNTS, 53), Some("fuse.sshfs"));
        assert_eq!(kind_of(MOUNTS, 54), None);
    }

    #[test]
    fn a_device_number_is_taken_apart_as_the_system_does() {
        let device = (0x1_2345_u64 & 0xfff) << 8 | (0x1_2345_u64 & !0xfff) << 32 | 0x67 | (0x45_6700_u64 & !0xff) << 12;
        assert_eq!((major(device), minor(device)), (0x1_2345, 0x45_6767));
    }

    #[test]
    fn the_folder_of_this_test_is_on_this_machine() {
        assert_eq!(network_file_system(Path::new("/")).unwrap(), None);
        assert!(network_file_system(Path::new("/nowhere/at/all")).is_err());
    }
}
