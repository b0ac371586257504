import assert from "node:assert/strict";
import { test } from "node:test";
import { choose, formatOf } from "../page/choose.ts";
import { MAX_FILE_BYTES } from "../src/wire.ts";

const bytes = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

const JPEG = bytes("\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01");
const FILES = {
  jpeg: JPEG, png: bytes("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), webp: bytes("RIFF\n\x00\x00\x00WEBPVP8 "),
  heic: bytes("\x00\x00\x00\x18ftypheic\x00\x00"), gif: bytes("GIF89a\x01\x00\x01\x00\x00\x00"), text: bytes("milk, bread, film"),
  wave: bytes("RIFF\n\x00\x00\x00WAVEfmt "), mp4: bytes("\x00\x00\x00\x18ftypisom\x00\x00"), little: bytes("\xff\xd8"),
};

test("a file is a photo by what it begins with, whatever it is called", () => {
  const formats = Object.fromEntries(Object.entries(FILES).map(([name, file]) => [name, formatOf(file)]));
  assert.deepEqual(formats, {
    jpeg: "photo", png: "photo", webp: "photo", heic: "heic", gif: "notPhoto", text: "notPhoto", wave: "notPhoto", mp4: "notPhoto", little: "notPhoto",
  });
});

test("what the server would refuse is left out with the reason, and the others stay in their order", async () => {
  const file = (name: string, ...parts: Uint8Array<ArrayBuffer>[]) => new File(parts, name);
  const large = Object.defineProperty(file("large.jpg", JPEG), "size", { value: MAX_FILE_BYTES + 1 });
  const gone = Object.assign(file("gone.jpg", JPEG), { slice: () => ({ arrayBuffer: () => Promise.reject(new Error("NotReadable")) }) });
  const many = Array.from({ length: 100 }, (_, index) => file(`${index}.jpg`, JPEG));
  const { photos, refused } = await choose([
    file("notes.txt", FILES.text), ...many, file("phone.heic", FILES.heic), file("empty.jpg"), large, file("b.png", FILES.png), gone, file(`${"é".repeat(128)}.jpg`, JPEG),
  ]);
  assert.deepEqual(photos.map(({ name }) => name), [...many.map(({ name }) => name), "b.png"]);
  assert.deepEqual(refused.map(({ why }) => why), ["notPhoto", "heic", "empty", "tooLarge", "unreadable", "name"]);
});
