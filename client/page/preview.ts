// Small previews of chosen files, one at a time: a phone cannot hold hundreds of full-size photos decoded.

const PREVIEW_PX = 360;

let last: Promise<unknown> = Promise.resolve();

/** An object URL, which the caller revokes; `undefined` when the browser cannot read the file as an image. */
export function makePreview(file: Blob, wanted: () => boolean): Promise<string | undefined> {
  const made = last.then(() => (wanted() ? render(file) : undefined));
  last = made;
  return made;
}

async function render(file: Blob): Promise<string | undefined> {
  try {
    const bitmap = await createImageBitmap(file, { resizeWidth: PREVIEW_PX, resizeQuality: "medium" });
    const canvas = document.createElement("canvas");
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
    bitmap.close();
    const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.7));
    return blob ? URL.createObjectURL(blob) : undefined;
  } catch {
    return undefined;
  }
}
