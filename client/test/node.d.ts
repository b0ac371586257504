// The little of Node that these tests use, so that checking them needs no further package.

declare module "node:test" {
  export function test(name: string, run: () => void | Promise<void>): void;
  export function after(run: () => void | Promise<void>): void;
}

declare module "node:assert/strict" {
  const assert: {
    equal(actual: unknown, expected: unknown, message?: string): void;
    deepEqual(actual: unknown, expected: unknown, message?: string): void;
    ok(value: unknown, message?: string): asserts value;
    match(text: string, pattern: RegExp): void;
    rejects(promise: Promise<unknown>, expected?: object): Promise<void>;
    throws(run: () => unknown, expected?: object): void;
  };
  export default assert;
}

declare module "node:http" {
  export type IncomingMessage = { readonly url?: string; readonly headers: Record<string, string | undefined> };
  export type ServerResponse = {
    writeHead(status: number, headers?: Record<string, string>): ServerResponse;
    write(text: string): void;
    end(text?: string): void;
    destroy(): void;
    on(event: "close", run: () => void): void;
  };
  export type Server = {
    listen(port: number, host: string, run: () => void): void;
    address(): { readonly port: number };
    close(): void;
    closeAllConnections(): void;
  };
  export function createServer(handle: (request: IncomingMessage, response: ServerResponse) => void): Server;
}

declare module "node:child_process" {
  export function execFileSync(file: string, args: string[], options: { cwd: string; encoding: "utf8" }): string;
}

declare module "node:fs" {
  export function mkdirSync(path: string, options: { recursive: true }): void;
  export function mkdtempSync(prefix: string): string;
  export function readdirSync(path: string): string[];
  export function readFileSync(path: string, encoding: "utf8"): string;
  export function rmSync(path: string, options: { recursive: true }): void;
  export function symlinkSync(target: string, path: string): void;
  export function writeFileSync(path: string, text: string): void;
}

declare module "node:os" {
  export function tmpdir(): string;
}

declare module "node:url" {
  export function fileURLToPath(url: URL): string;
}

declare module "node:zlib" {
  export function gzipSync(bytes: Uint8Array, options: { level: number }): Uint8Array;
}

declare module "*/build.mjs" {
  import type { BuildOptions } from "esbuild";
  export const OWN_FIELDS: readonly string[];
  export const PACKAGE: BuildOptions;
}

interface ImportMeta {
  url: string;
}
