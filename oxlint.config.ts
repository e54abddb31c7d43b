import { defineConfig } from "oxlint";
import type { DummyRuleMap } from "oxlint";
import { impureGlobals, layers } from "./layers.ts";

/** Files that test, measure or prove: they may reach everywhere. */
const proofs = ["**/*.test.ts", "**/*.suite.ts", "**/*.bench.ts"];

/** `up` is how an import of another layer begins: a folder inside a layer may have another layer's name. */
function rulesOf(name: string, up: string): DummyRuleMap {
  const layer = layers[name];
  if (layer === undefined) throw new Error(`no such layer: ${name}`);
  const others = Object.keys(layers).filter((other) => other !== name);
  const forbidden = others.filter((other) => !layer.imports.includes(other));
  const patterns = [
    {
      // The rule's regular expressions know no look-ahead: "not index.ts" is spelled out letter by letter.
      regex: `^${up}(${others.join("|")})/(.*/|[^i]|i[^n]|in[^d]|ind[^e]|inde[^x]|index[^.])`,
      message: "Enter another layer through its index.ts.",
    },
    { regex: "(^|/)src/|^(\\.\\./)+index\\.ts$", message: "Name the layer, not the package." },
  ];
  if (forbidden.length > 0) {
    patterns.push({
      regex: `^${up}(${forbidden.join("|")})/`,
      message: `${name} may import only: ${layer.imports.join(", ") || "nothing"} (layers.ts).`,
    });
  }
  if (layer.pure) {
    patterns.push({ regex: "^[^.]", message: `${name} is pure: no Node.js and no package; use the doors of Env.` });
  }
  return {
    "no-restricted-imports": ["error", { patterns }],
    ...(layer.pure && {
      "no-restricted-globals": ["error", ...impureGlobals],
      "no-restricted-properties": ["error", { object: "Math", property: "random", message: "Use env.random." }],
    }),
  };
}

export default defineConfig({
  plugins: ["typescript", "unicorn", "oxc", "import"],
  categories: { correctness: "error", suspicious: "error" },
  rules: {
    "import/no-cycle": ["error", { ignoreTypes: false }],
    "import/no-default-export": "error",
    "unicorn/filename-case": ["error", { case: "kebabCase" }],
    "typescript/no-explicit-any": "error",
    "typescript/no-non-null-assertion": "error",
    "typescript/consistent-type-imports": "error",
    "typescript/no-floating-promises": "error",
    "typescript/no-misused-promises": "error",
    "no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
    // Brands, and bytes whose shape was just checked, are made by narrowing.
    "typescript/no-unsafe-type-assertion": "off",
    // Waiting in a loop is often the point here: order is what a log is for.
    "no-await-in-loop": "off",
    // Shadowing by a callback's parameter is everyday in small functions.
    "no-shadow": "off",
    "no-underscore-dangle": "off",
    // The compiler sees more exactly which functions end without a value.
    "typescript/consistent-return": "off",
    // An array called `then` makes nothing thenable.
    "unicorn/no-thenable": "off",
    "import/no-named-as-default-member": "off",
  },
  overrides: [
    ...Object.keys(layers).flatMap((name) => [
      { files: [`src/${name}/*.ts`], rules: rulesOf(name, "(\\.\\./)+") },
      { files: [`src/${name}/*/**/*.ts`], rules: rulesOf(name, "(\\.\\./){2,}") },
    ]),
    {
      files: proofs,
      rules: {
        "no-restricted-imports": "off",
        "no-restricted-globals": "off",
        "no-restricted-properties": "off",
        "typescript/no-floating-promises": "off",
        "typescript/no-non-null-assertion": "off",
      },
    },
    { files: ["*.config.ts"], rules: { "import/no-default-export": "off" } },
  ],
  ignorePatterns: ["dist", "node_modules", "holdfast-data"],
});
