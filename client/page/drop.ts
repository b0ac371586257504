// Photos into the page: file inputs, files pasted, and files or whole folders dropped anywhere.

export function acceptPhotos(inputs: readonly HTMLInputElement[], chosen: (files: File[]) => void): void {
  for (const input of inputs) {
    input.addEventListener("change", () => {
      const files = [...(input.files ?? [])];
      // The same photos may be chosen twice in a row, and that is a change too.
      input.value = "";
      if (files.length > 0) chosen(files);
    });
  }
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    chosen(files);
  });

  let depth = 0;
  const mark = (change: number): void => {
    depth = Math.max(0, depth + change);
    document.documentElement.toggleAttribute("data-dragging", depth > 0);
  };
  document.addEventListener("dragenter", (event) => {
    if (hasFiles(event)) mark(1);
  });
  document.addEventListener("dragleave", (event) => {
    if (hasFiles(event)) mark(-1);
  });
  document.addEventListener("dragover", (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer || !hasFiles(event)) return;
    event.preventDefault();
    mark(-depth);
    void filesOf(event.dataTransfer).then((files) => {
      if (files.length > 0) chosen(files);
    });
  });
}

function hasFiles(event: DragEvent): boolean {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

async function filesOf(transfer: DataTransfer): Promise<File[]> {
  // Both lists are emptied once the event is over, so they are read before the first wait.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const plain = [...transfer.files];
  if (!entries.some((entry) => entry.isDirectory)) return plain;
  const nested = await Promise.all(entries.map(filesIn));
  return nested.flat().filter((file) => !file.name.startsWith("."));
}

async function filesIn(entry: FileSystemEntry): Promise<File[]> {
  try {
    if (entry.isFile) return [await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject))];
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    const files: File[] = [];
    // A folder is read in portions, and an empty one is its end.
    for (;;) {
      const portion = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (portion.length === 0) return files;
      files.push(...(await Promise.all(portion.map(filesIn))).flat());
    }
  } catch {
    return [];
  }
}
