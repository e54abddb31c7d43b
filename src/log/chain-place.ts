/**
 * Where a chain's engines are, and where a member notes it: so that after a restart the chain begins at the oldest engine
 * that is still needed, also when older ones are gone.
 *
 * The note may lag behind the log, never run ahead of it: an engine that is not in it yet is found through the successor
 * record of the last one that is. So nothing is lost when a crash comes between a move and its note.
 *
 * After a crash: the file is whole, as it was before the last `save` or after it.
 *
 * Format: docs/format.md, "The chain's records".
 */
import {
  concatBytes,
  embed,
  equalBytes,
  HoldfastError,
  message,
  readUint32LE,
  repeated,
  uint64,
  utf8Encode,
  writeUint32LE,
} from "../base/index.ts";
import type { Env, Infer } from "../base/index.ts";
import { Successor } from "./successor.ts";

const ChainPlaceMessage = message("holdfast.log.ChainPlace", {
  engine: embed(1, Successor),
  /** The chain's position of the engine's position 0. */
  base: uint64(2),
});

export const ChainPlacesMessage = message("holdfast.log.ChainPlaces", {
  /** In the order of their bases; the last one is where the log is appended to, unless it names a successor. */
  places: repeated(embed(1, ChainPlaceMessage)),
});

/** One engine of a chain. */
export interface ChainPlace {
  readonly engine: Successor;
  readonly base: number;
}

/** The places that a message holds. */
export function placesOf({ places }: Infer<typeof ChainPlacesMessage>): ChainPlace[] {
  const none: Successor = { kind: "", parameters: new Uint8Array(0) };
  return places.map(({ engine, base }) => ({ engine: engine ?? none, base }));
}

/** Keeps the places of one chain. */
export interface ChainPlaces {
  /** Undefined when none were ever saved. */
  load(): Promise<readonly ChainPlace[] | undefined>;
  /** Durable when it resolves. */
  save(places: readonly ChainPlace[]): Promise<void>;
}

const magic = utf8Encode("HFCHAIN1");
const headerSize = 12;

export class ChainFile implements ChainPlaces {
  readonly #env: Pick<Env, "disk" | "digest">;
  readonly #path: string;

  /** In the root of the disk, whose lock the caller holds. */
  constructor(env: Pick<Env, "disk" | "digest">, path: string) {
    this.#env = env;
    this.#path = path;
  }

  /** `corrupt`, naming the file, when it is damaged. */
  async load(): Promise<readonly ChainPlace[] | undefined> {
    const whole = await this.#read();
    if (whole === undefined) return undefined;
    const body = whole.subarray(headerSize);
    const sound =
      whole.length >= headerSize &&
      equalBytes(whole.subarray(0, magic.length), magic) &&
      readUint32LE(whole, magic.length) === this.#env.digest.crc32(body);
    const places = sound ? placesOf(ChainPlacesMessage.decode(body)) : [];
    if (places.length > 0) return places;
    throw new HoldfastError(
      "corrupt",
      `the file ${this.#path}, which says where the log is, is damaged (offset 0): put it back from a backup`,
    );
  }

  async #read(): Promise<Uint8Array | undefined> {
    try {
      const file = await this.#env.disk.open(this.#path, "read");
      try {
        return await file.read(0, await file.size());
      } finally {
        await file.close();
      }
    } catch (error) {
      if (error instanceof HoldfastError && error.code === "notFound") return undefined;
      throw error;
    }
  }

  async save(places: readonly ChainPlace[]): Promise<void> {
    const { disk, digest } = this.#env;
    const body = ChainPlacesMessage.encode({ places: [...places] });
    const header = new Uint8Array(headerSize);
    header.set(magic);
    writeUint32LE(header, magic.length, digest.crc32(body));
    const file = await disk.open(`${this.#path}.new`, "write");
    try {
      await file.truncate(0);
      await file.write([concatBytes([header, body])], 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await disk.rename(`${this.#path}.new`, this.#path);
    await disk.syncDirectory("");
  }
}
