// The platform's cryptography: constant in time, and no weight in the wasm module.
// What comes from wasm is copied before anything is awaited: its memory may grow meanwhile, which empties every view of it.
const HMAC = { name: 'HMAC', hash: 'SHA-256' };
const ECDSA = { name: 'ECDSA', hash: 'SHA-256', namedCurve: 'P-256' };

export async function hmac(secret, data) {
  data = data.slice();
  const key = await crypto.subtle.importKey('raw', secret, HMAC, false, ['sign']);
  return new Uint8Array(await crypto.subtle.sign(HMAC, key, data));
}

export async function isHmac(secret, data, signature) {
  [data, signature] = [data.slice(), signature.slice()];
  const key = await crypto.subtle.importKey('raw', secret, HMAC, false, ['verify']);
  return crypto.subtle.verify(HMAC, key, signature, data);
}

// `point` is uncompressed: 4, x, y (SEC 1, section 2.3.3).
export async function isEcdsa(point, data, signature) {
  [data, signature] = [data.slice(), signature.slice()];
  const key = await crypto.subtle.importKey('raw', point, ECDSA, false, ['verify']);
  return crypto.subtle.verify(ECDSA, key, signature, data);
}
