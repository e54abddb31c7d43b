/**
 * Which paths of a tree are taken: patterns as in a `.gitignore`.
 *
 *     *.log     at any depth                 /build    only at the top of the tree
 *     cache/    only folders                 a/x.txt   anchored, too: there is a `/` inside
 *     !keep.log taken again                  ? [a-z] [!a]   one character
 *     **        as a whole name: any number of folders
 *     \x        the character x itself
 *
 * Of the patterns that match, the last decides. What is below an excluded folder is never looked at, so that nothing below
 * it can be taken again. With `include` patterns only what matches one of them, or is below a folder that does, is taken;
 * `exclude` then takes away from that. Paths are relative to the top of the tree, with `/` between names.
 */
import { HoldfastError } from "../base/index.ts";

/** `take`: with everything below. `walk`: a folder that is not taken itself, but something below may be. */
export type Selection = "take" | "walk" | "skip";

export interface PatternOptions {
  /** Only these; absent or empty: everything. */
  readonly include?: readonly string[] | undefined;
  /** But not these. */
  readonly exclude?: readonly string[] | undefined;
}

interface Pattern {
  readonly negated: boolean;
  readonly folderOnly: boolean;
  readonly expression: RegExp;
}

const patternSizeMax = 4_096;

export class Patterns {
  readonly #include: readonly Pattern[];
  readonly #exclude: readonly Pattern[];
  /** The last folder asked for by `of`, and what came out: neighbours share it. */
  #folder = "";
  #folderSelection: Selection;

  /** `invalid` for a pattern that makes no sense, quoting it. */
  constructor({ include = [], exclude = [] }: PatternOptions = {}) {
    this.#include = parse(include);
    this.#exclude = parse(exclude);
    this.#folderSelection = this.root;
  }

  /** Whether there are none: everything is taken. */
  get empty(): boolean {
    return this.#include.length === 0 && this.#exclude.length === 0;
  }

  /** For the top of the tree itself. */
  get root(): Selection {
    return this.#include.length === 0 ? "take" : "walk";
  }

  /** For something in a folder for which `parent` came out. */
  below(parent: Selection, path: string, folder: boolean): Selection {
    if (parent === "skip") return "skip";
    if (decide(this.#exclude, path, folder) === true) return "skip";
    if (parent === "take") return decide(this.#include, path, folder) === false ? "skip" : "take";
    if (decide(this.#include, path, folder) === true) return "take";
    return folder ? "walk" : "skip";
  }

  /** For a path of which nothing is known but that what is above it are folders. */
  of(path: string, folder: boolean): Selection {
    if (this.empty) return "take";
    const slash = path.lastIndexOf("/");
    const parent = slash < 0 ? this.root : this.#ofFolder(path.slice(0, slash));
    return this.below(parent, path, folder);
  }

  #ofFolder(path: string): Selection {
    if (path === this.#folder && path !== "") return this.#folderSelection;
    const slash = path.lastIndexOf("/");
    const parent = slash < 0 ? this.root : this.#ofFolder(path.slice(0, slash));
    this.#folderSelection = this.below(parent, path, true);
    this.#folder = path;
    return this.#folderSelection;
  }
}

/** The patterns of a file with one a line: empty lines and those that begin with `#` say nothing. */
export function patternLines(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.replace(/\r$/, ""))
    .filter((line) => line.trim() !== "" && !line.startsWith("#"));
}

/** What the last pattern that matches says; undefined if none does. */
function decide(patterns: readonly Pattern[], path: string, folder: boolean): boolean | undefined {
  for (let index = patterns.length - 1; index >= 0; index--) {
    const { negated, folderOnly, expression } = patterns[index] as Pattern;
    if ((folder || !folderOnly) && expression.test(path)) return !negated;
  }
  return undefined;
}

function parse(patterns: readonly string[]): Pattern[] {
  return patterns.map((text) => {
    if (text.length > patternSizeMax) {
      throw new HoldfastError("invalid", `a pattern has ${text.length} characters; the limit is ${patternSizeMax}`);
    }
    const negated = text.startsWith("!");
    let glob = negated ? text.slice(1) : text;
    const folderOnly = glob.endsWith("/") && !glob.endsWith("\\/");
    if (folderOnly) glob = glob.replace(/\/+$/, "");
    // `./x` is how shells complete it.
    if (glob.startsWith("./")) glob = glob.slice(1);
    const anchored = glob.includes("/");
    if (glob.startsWith("/")) glob = glob.slice(1);
    if (glob === "") throw new HoldfastError("invalid", `the pattern ${JSON.stringify(text)} names nothing`);
    const source = `^${anchored ? "" : "(?:.*/)?"}${expressionOf(glob, text)}$`;
    return { negated, folderOnly, expression: new RegExp(source, "su") };
  });
}

/** The regular expression of a glob. With its `u` flag a lone surrogate, a byte of no character, is one character. */
function expressionOf(glob: string, pattern: string): string {
  let source = "";
  for (let at = 0; at < glob.length;) {
    const rest = glob.slice(at);
    const startsName = at === 0 || glob[at - 1] === "/";
    if (startsName && rest.startsWith("**/")) {
      source += "(?:.*/)?";
      at += 3;
    } else if (startsName && rest === "**") {
      source += ".+";
      at += 2;
    } else if (rest.startsWith("*")) {
      source += "[^/]*";
      while (glob[at] === "*") at++;
    } else if (rest.startsWith("?")) {
      source += "[^/]";
      at++;
    } else if (rest.startsWith("[")) {
      const size = classSize(rest);
      if (size === 0) {
        throw new HoldfastError("invalid", `the pattern ${JSON.stringify(pattern)} has a "[" without a "]"`);
      }
      source += classOf(rest.slice(1, size - 1), pattern);
      at += size;
    } else {
      if (rest.startsWith("\\") && rest.length > 1) at++;
      const character = String.fromCodePoint(glob.codePointAt(at) as number); // There is one at `at`.
      source += escape(character);
      at += character.length;
    }
  }
  return source;
}

/** Characters of a class with its brackets; 0 if it does not end. A `]` right after the beginning is one of its characters. */
function classSize(text: string): number {
  const first = text[1] === "!" || text[1] === "^" ? 2 : 1;
  for (let at = first; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "]" && at > first) return at + 1;
  }
  return 0;
}

function classOf(inside: string, pattern: string): string {
  const negated = inside.startsWith("!") || inside.startsWith("^");
  const characters = Array.from(negated ? inside.slice(1) : inside);
  let source = "";
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] as string;
    const range = character === "-" && at > 0 && at < characters.length - 1;
    if (character === "\\" && at < characters.length - 1) source += escapeInClass(characters[++at] as string);
    else source += range ? "-" : escapeInClass(character);
  }
  try {
    // A class never matches what separates names.
    return new RegExp(`[${source}]`, "su").source.replace(/^\[/, negated ? "(?!/)[^" : "(?!/)[");
  } catch (error) {
    throw new HoldfastError("invalid", `the pattern ${JSON.stringify(pattern)} has a range that runs backwards`, {
      cause: error,
    });
  }
}

function escape(character: string): string {
  return /[\^$\\.*+?()[\]{}|/]/.test(character) ? `\\${character}` : character;
}

/** Inside of a class a hyphen means a range. */
function escapeInClass(character: string): string {
  return character === "-" ? "\\-" : escape(character);
}
