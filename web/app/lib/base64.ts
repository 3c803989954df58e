// Bytes as the core and the server take them in JSON.
export const base64 = (bytes: ArrayBuffer | null): string => btoa(Array.from(new Uint8Array(bytes ?? new ArrayBuffer(0)), (b) => String.fromCharCode(b)).join(""));

export const bytesOf = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
