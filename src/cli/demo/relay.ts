/**
 * Stands between the members of the demo: every connection that one member makes to another goes through here, so that a
 * member can be cut off as a broken network would do it. While a member is cut off nothing passes to it or from it, and
 * nobody is told: connections stay open, new ones are made and stay silent. After healing, what waited goes on.
 *
 * A connection begins with one line, `FROM ADDRESS\n`: the name of the member that connects, and where it wants to go.
 * `RelayedNet` writes it. Clients do not come this way.
 */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";

/** The greeting line is short; whoever sends more is no member. */
const greetingSizeMax = 300;

/** One connection, in two halves; `outward` is made when the two members may talk. */
interface Passage {
  readonly from: string;
  readonly address: string;
  readonly inward: Socket;
  outward: Socket | undefined;
  /** Bytes pass now. */
  open: boolean;
}

export class Relay {
  readonly #server: Server;
  readonly #passages = new Set<Passage>();
  readonly #names = new Map<string, string>();
  readonly #cut = new Set<string>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async listen(): Promise<Relay> {
    const server = createServer({ noDelay: true, pauseOnConnect: true });
    const relay = new Relay(server);
    server.on("connection", (socket) => relay.#accept(socket));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return relay;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Which member listens at an address: what is cut is a member. */
  name(address: string, member: string): void {
    this.#names.set(address, member);
  }

  /** From now on nothing passes to this member or from it. */
  cut(member: string): void {
    this.#cut.add(member);
    this.#settle();
  }

  heal(member: string): void {
    this.#cut.delete(member);
    this.#settle();
  }

  close(): void {
    this.#server.close();
    for (const { inward, outward } of this.#passages) {
      inward.destroy();
      outward?.destroy();
    }
  }

  #accept(socket: Socket): void {
    let greeting = Buffer.alloc(0);
    socket.on("error", () => socket.destroy());
    const onData = (bytes: Buffer) => {
      greeting = Buffer.concat([greeting, bytes]);
      const end = greeting.indexOf(10);
      if (end < 0 && greeting.length <= greetingSizeMax) return;
      socket.off("data", onData);
      socket.pause();
      const [from = "", address = ""] = greeting.toString("latin1", 0, Math.max(end, 0)).split(" ");
      if (address === "") {
        socket.destroy();
        return;
      }
      if (end + 1 < greeting.length) socket.unshift(greeting.subarray(end + 1));
      const passage: Passage = { from, address, inward: socket, outward: undefined, open: false };
      this.#passages.add(passage);
      socket.on("close", () => this.#end(passage));
      this.#settleOne(passage);
    };
    socket.on("data", onData);
    socket.resume();
  }

  #settle(): void {
    for (const passage of this.#passages) this.#settleOne(passage);
  }

  /** Lets bytes pass, or stops them, as the two members may or may not talk now. */
  #settleOne(passage: Passage): void {
    const { from, address, inward } = passage;
    const open = !this.#cut.has(from) && !this.#cut.has(this.#names.get(address) ?? "");
    if (open === passage.open) return;
    passage.open = open;
    const outward = passage.outward ?? this.#connect(passage);
    if (open) {
      inward.pipe(outward);
      outward.pipe(inward);
      return;
    }
    inward.unpipe(outward);
    outward.unpipe(inward);
    inward.pause();
    outward.pause();
  }

  #connect(passage: Passage): Socket {
    const [host = "", port = ""] = passage.address.split(":");
    const outward = connect({ host, port: Number(port), noDelay: true });
    passage.outward = outward;
    outward.on("error", () => outward.destroy());
    outward.on("close", () => this.#end(passage));
    return outward;
  }

  /** One half is over: so is the other. A member that was killed is seen as such by those it talked to. */
  #end(passage: Passage): void {
    this.#passages.delete(passage);
    passage.inward.destroy();
    passage.outward?.destroy();
  }
}
