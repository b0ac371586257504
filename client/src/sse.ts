// Event streams as the HTML standard has them ("Server-sent events"): text in, in any cut, and blocks out. Lines end with LF
// or CRLF; the third way, a lone CR, nobody sends.

/** The fields of one block as they came, several lines of `data` joined by LF. */
export type Block = { readonly event?: string; readonly data?: string; readonly id?: string; readonly retry?: string };

/** Takes the text of one stream, piece by piece, and gives the blocks that it completes; for a comment an empty one. */
export function blockReader(): (text: string) => Block[] {
  let rest = "";
  let block: Record<string, string> = {};
  return (text) => {
    rest += text;
    // A line of megabytes comes in many pieces: it is looked through once, when its end is there.
    if (!text.includes("\n")) return [];
    const lines = rest.split(/\r?\n/);
    rest = lines.pop() ?? "";
    const blocks: Block[] = [];
    for (const line of lines) {
      const [, name = "", value = ""] = /^([^:]*):? ?(.*)/.exec(line) ?? [];
      if (line === "") {
        blocks.push(block);
        block = {};
      } else block[name] = name === "data" && name in block ? `${block[name]}\n${value}` : value;
    }
    return blocks;
  };
}
