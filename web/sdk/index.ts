// The public face of the package. README.md shows how to use it.
export { SottoError } from "./core";
export type { SearchHit } from "./fold";
export { Sotto, trusted, type Options } from "./sotto";
export type { Connection, Phase, Role, Status } from "./status";
export type * from "./types";
