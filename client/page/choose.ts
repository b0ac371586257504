// Which of the chosen files are uploaded: those that the server would take. It goes by content, and so does this.

import { MAX_FILE_BYTES, MAX_NAME_BYTES } from "../src/wire.ts";

/** Where every format that matters here names itself. */
const SIGNATURE_BYTES = 12;
/** Files looked into at the same time. */
const AT_ONCE = 32;

export type Refused = { readonly name: string; readonly why: "notPhoto" | "heic" | "empty" | "tooLarge" | "name" | "unreadable" };

export type Choice = { readonly photos: readonly File[]; readonly refused: readonly Refused[] };

export async function choose(files: readonly File[]): Promise<Choice> {
  const photos: File[] = [];
  const refused: Refused[] = [];
  for (let from = 0; from < files.length; from += AT_ONCE) {
    const some = files.slice(from, from + AT_ONCE);
    const verdicts = await Promise.all(some.map(judge));
    some.forEach((file, index) => {
      const why = verdicts[index];
      if (why) refused.push({ name: file.name, why });
      else photos.push(file);
    });
  }
  return { photos, refused };
}

async function judge(file: File): Promise<Refused["why"] | undefined> {
  if (file.size === 0) return "empty";
  try {
    const format = formatOf(new Uint8Array(await file.slice(0, SIGNATURE_BYTES).arrayBuffer()));
    if (format !== "photo") return format;
  } catch {
    return "unreadable";
  }
  if (file.size > MAX_FILE_BYTES) return "tooLarge";
  return new TextEncoder().encode(file.name).length > MAX_NAME_BYTES ? "name" : undefined;
}

/** From the first bytes of a file. */
export function formatOf(bytes: Uint8Array): "photo" | "heic" | "notPhoto" {
  const text = String.fromCharCode(...bytes.subarray(0, SIGNATURE_BYTES));
  if (text.startsWith("\xff\xd8\xff") || text.startsWith("\x89PNG\r\n\x1a\n") || /^RIFF[^]{4}WEBP/.test(text)) return "photo";
  return /^[^]{4}ftyp(hei|hev|mif1|msf1)/.test(text) ? "heic" : "notPhoto";
}
