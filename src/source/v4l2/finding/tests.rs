//! A machine in a folder: `sys/class/video4linux` with links to USB devices, `dev` with nodes.

use std::os::unix::fs::symlink;
use std::time::Duration;

use super::super::super::Captured;
use super::super::tests::{FakeCamera, config, grey};
use super::super::{CameraStream, V4l2Config};
use super::*;

/// One plugged-in camera: its socket, numbers, serial, and the card that its nodes name.
#[derive(Clone, Copy)]
struct Plugged {
    socket: &'static str,
    product: &'static str,
    serial: Option<&'static str>,
    card: &'static str,
}

const FRONT: Plugged = Plugged { socket: "1-1", product: "0825", serial: Some("A1"), card: "cam" };
const BACK: Plugged = Plugged { socket: "1-2", product: "0825", serial: Some("B2"), card: "cam" };

struct Bench {
    folder: tempfile::TempDir,
    machine: Machine,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // As the paths that links lead to are compared with it.
        let root = folder.path().canonicalize().unwrap();
        let machine = Machine { sys: root.join("sys"), dev: root.join("dev") };
        std::fs::create_dir_all(&machine.dev).unwrap();
        Self { folder, machine }
    }

    fn dev(&self, name: &str) -> PathBuf {
        self.machine.dev.join(name)
    }

    /// What is plugged in now, each with the number of its picture's node; the next number is its
    /// metadata node.
    fn plug(&self, cameras: &[(u32, Plugged)]) {
        let Machine { sys, dev } = &self.machine;
        let _ = std::fs::remove_dir_all(sys);
        std::fs::remove_dir_all(dev).unwrap();
        let class = sys.join("class/video4linux");
        for folder in [class.as_path(), &dev.join("v4l/by-path")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for (number, camera) in cameras {
            let device = sys.join("devices/usb1").join(camera.socket);
            let interface = device.join(format!("{}:1.0", camera.socket));
            std::fs::create_dir_all(&interface).unwrap();
            std::fs::write(device.join("idVendor"), "046d\n").unwrap();
            std::fs::write(device.join("idProduct"), format!("{}\n", camera.product)).unwrap();
            if let Some(serial) = camera.serial {
                std::fs::write(device.join("serial"), format!("{serial}\n")).unwrap();
            }
            for index in 0..2 {
                let name = format!("video{}", number + index);
                let entry = class.join(&name);
                std::fs::create_dir(&entry).unwrap();
                std::fs::write(entry.join("index"), format!("{index}\n")).unwrap();
                symlink(&interface, entry.join("device")).unwrap();
                std::fs::write(dev.join(&name), "").unwrap();
            }
            let link = dev.join("v4l/by-path").join(camera.socket);
            symlink(dev.join(format!("video{number}")), link).unwrap();
        }
    }

    /// What the nodes say of themselves, as plugged in now.
    fn tell(&self, fake: &mut FakeCamera, cameras: &[(u32, Plugged)]) {
        self.plug(cameras);
        fake.nodes = Some(
            cameras
                .iter()
                .flat_map(|(number, camera)| {
                    [0, 1].map(|i| {
                        let path = self.dev(&format!("video{}", number + i));
                        (path, (camera.card, format!("usb-{}", camera.socket), i == 0))
                    })
                })
                .collect(),
        );
        // Links lead to nodes.
        for (number, camera) in cameras {
            let link = self.dev("v4l/by-path").join(camera.socket);
            let node = fake.nodes.as_ref().unwrap()[&self.dev(&format!("video{number}"))].clone();
            fake.nodes.as_mut().unwrap().insert(link, node);
        }
    }

    fn open(
        &self,
        device: impl Into<PathBuf>,
        cameras: &[(u32, Plugged)],
    ) -> Result<CameraStream<FakeCamera>, String> {
        let mut fake = FakeCamera::new();
        self.tell(&mut fake, cameras);
        let config = V4l2Config { device: device.into(), ..config() };
        CameraStream::open(config, fake, self.machine.clone()).map_err(|e| e.to_string())
    }

    /// The camera goes, and this is plugged in when it is looked for again: where frames come from
    /// then, or why none come.
    fn after(
        &self,
        stream: &mut CameraStream<FakeCamera>,
        cameras: &[(u32, Plugged)],
    ) -> Result<PathBuf, String> {
        self.tell(&mut stream.driver, cameras);
        stream.driver.lose();
        let mut captured = Captured::default();
        let lost = stream.next(&mut captured).unwrap_err().to_string();
        assert!(lost.contains("stopped delivering"), "{lost}");
        stream.driver.frames([grey(7, 0)]);
        stream.driver.pass(Duration::from_secs(10));
        stream.next(&mut captured).map_err(|e| e.to_string())?;
        Ok(stream.known.path().to_owned())
    }
}

#[test]
fn a_camera_that_comes_back_under_another_number_is_found() {
    let bench = Bench::new();
    let mut stream = bench.open(bench.dev("video0"), &[(0, FRONT)]).unwrap();
    assert_eq!(bench.after(&mut stream, &[(2, FRONT)]), Ok(bench.dev("video2")));
    assert!(stream.describe().contains("video2)"), "{}", stream.describe());
    // And back again.
    assert_eq!(bench.after(&mut stream, &[(0, FRONT)]), Ok(bench.dev("video0")));
}

#[test]
fn another_camera_under_its_number_is_never_read_in_its_name() {
    let bench = Bench::new();
    let mut stream = bench.open(bench.dev("video0"), &[(0, FRONT), (2, BACK)]).unwrap();
    // The two came back in the other order.
    assert_eq!(
        bench.after(&mut stream, &[(0, BACK), (2, FRONT)]),
        Ok(bench.dev("video2")),
        "it is followed"
    );
    // Only the other one is there.
    let why = bench.after(&mut stream, &[(0, BACK)]).unwrap_err();
    assert!(why.contains("is another camera now") && why.contains("usb:046d:0825:A1"), "{why}");
    let mut captured = Captured::default();
    for _ in 0..20 {
        assert!(stream.next(&mut captured).is_err(), "not even later");
    }
    bench.tell(&mut stream.driver, &[(4, FRONT), (0, BACK)]);
    stream.driver.pass(Duration::from_secs(10));
    stream.next(&mut captured).unwrap();
    assert_eq!(stream.known.path(), bench.dev("video4"));
}

#[test]
fn in_another_socket_a_serial_number_is_believed_and_without_one_nothing_is() {
    let bench = Bench::new();
    let elsewhere = |camera: Plugged| Plugged { socket: "2-4", ..camera };
    let mut stream = bench.open(bench.dev("video0"), &[(0, FRONT)]).unwrap();
    assert_eq!(bench.after(&mut stream, &[(2, elsewhere(FRONT))]), Ok(bench.dev("video2")));

    let nameless = Plugged { serial: None, ..FRONT };
    let mut stream = bench.open(bench.dev("video0"), &[(0, nameless)]).unwrap();
    let why = bench.after(&mut stream, &[(2, elsewhere(nameless))]).unwrap_err();
    assert!(why.contains("there is no"), "{why}");
    assert_eq!(bench.after(&mut stream, &[(2, nameless)]), Ok(bench.dev("video2")), "same socket");

    // A serial number that both have is none.
    let twin = Plugged { socket: "1-2", ..FRONT };
    let mut stream = bench.open(bench.dev("video0"), &[(0, FRONT), (2, twin)]).unwrap();
    let why = bench.after(&mut stream, &[(0, twin)]).unwrap_err();
    assert!(why.contains("is another camera now"), "{why}");
    assert_eq!(bench.after(&mut stream, &[(0, twin), (2, FRONT)]), Ok(bench.dev("video2")));
}

#[test]
fn a_camera_is_named_by_its_usb_numbers_and_several_that_it_could_be_are_an_error() {
    let bench = Bench::new();
    let both = [(0, FRONT), (2, BACK)];
    let mut stream = bench.open("usb:046d:0825:B2", &both).unwrap();
    assert_eq!(stream.known.path(), bench.dev("video2"));
    let moved = Plugged { socket: "3-1", ..BACK };
    assert_eq!(bench.after(&mut stream, &[(0, moved), (2, FRONT)]), Ok(bench.dev("video0")));
    let why = bench.open("usb:046d:0825", &both).err().unwrap();
    assert!(why.contains("could be each of 2 cameras") && why.contains("video2"), "{why}");
    assert!(why.contains("by-path"), "{why}");
    assert!(bench.open("usb:046d:0825", &[(6, FRONT)]).is_ok());
    let why = bench.open("usb:046d:0826", &both).err().unwrap();
    assert!(why.contains("no camera usb:046d:0826 is plugged in"), "{why}");
    // One that is named by its model may sit anywhere, with or without a serial number.
    let nameless = Plugged { serial: None, ..FRONT };
    let mut stream = bench.open("usb:046d:0825", &[(0, nameless)]).unwrap();
    let elsewhere = Plugged { socket: "2-4", ..nameless };
    assert_eq!(bench.after(&mut stream, &[(0, elsewhere)]), Ok(bench.dev("video0")));
    let third = Plugged { socket: "2-5", ..nameless };
    let why = bench.after(&mut stream, &[(0, nameless), (2, third)]).unwrap_err();
    assert!(why.contains("could be each of 2"), "{why}");
}

#[test]
fn a_link_is_followed_anew_at_each_opening() {
    let bench = Bench::new();
    let link = bench.dev("v4l/by-path/1-1");
    let mut stream = bench.open(&link, &[(0, FRONT)]).unwrap();
    assert_eq!(bench.after(&mut stream, &[(4, FRONT)]), Ok(link.clone()));
    // Somebody else in the socket.
    let stranger = Plugged { socket: "1-1", ..BACK };
    let why = bench.after(&mut stream, &[(4, stranger)]).unwrap_err();
    assert!(why.contains("is another camera now"), "{why}");
}

#[test]
fn a_name_by_usb_numbers_is_whole_or_refused() {
    let parse = |text: &str| CameraName::parse(text.as_ref());
    for wrong in
        ["usb:", "usb:046d", "usb:046d:", "usb:46d:0825", "usb:046d:0825:", "usb:x46d:0825"]
    {
        assert_eq!(parse(wrong), None, "{wrong}");
        let mut problems = Vec::new();
        V4l2Config { device: wrong.into(), ..V4l2Config::default() }.problems(&mut problems);
        assert_eq!(problems.len(), 1, "{wrong}");
    }
    let Some(CameraName::Usb(usb)) = parse("usb:046D:0825:A:1") else { panic!() };
    assert_eq!(usb.to_string(), "usb:046d:0825:A:1");
    assert_eq!(parse("/dev/video0"), Some(CameraName::Path("/dev/video0".into())));
}

#[test]
fn what_sysfs_says_is_bounded() {
    let bench = Bench::new();
    bench.plug(&[(0, FRONT)]);
    let serial = bench.machine.sys.join("devices/usb1/1-1/serial");
    std::fs::write(&serial, "\x1b[2J".repeat(100_000)).unwrap();
    let shown = bench.machine.shown(bench.dev("video0"));
    let told = shown.usb.unwrap().to_string();
    assert!(told.len() < 600 && !told.contains('\x1b'), "{told}");
    assert_eq!(bench.machine.usb_name(&bench.dev("video9")), None);
    drop(bench.folder);
}
