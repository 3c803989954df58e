// Where the page is: the path of the address bar, nothing else. Every place survives back, forward and reload.

export type Place =
  | { at: "home" } | { at: "register" } | { at: "sign-in" } | { at: "restore" } | { at: "new" }
  | { at: "conversation"; id: string } | { at: "person"; username: string }
  | { at: "settings"; section: string | undefined } | { at: "nowhere" };

export function placeOf(path: string): Place {
  const [first = "", second, ...rest] = path.split("/").slice(1).map(decoded);
  if (rest.length > 0) {
    return { at: "nowhere" };
  }
  switch (first) {
    case "": return second === undefined ? { at: "home" } : { at: "nowhere" };
    case "register": case "sign-in": case "restore": case "new":
      return second === undefined ? { at: first } : { at: "nowhere" };
    case "c": return second ? { at: "conversation", id: second } : { at: "nowhere" };
    case "u": return second ? { at: "person", username: second } : { at: "nowhere" };
    case "settings": return { at: "settings", section: second || undefined };
  }
  return { at: "nowhere" };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

class Router {
  path = $state(location.pathname);
  place: Place = $derived(placeOf(this.path));
  #depth = 0; // own entries of the history below this one

  constructor() {
    addEventListener("popstate", () => {
      this.#depth = (history.state as { depth?: number } | null)?.depth ?? 0;
      this.path = location.pathname;
    });
  }

  go(path: string, how: "push" | "replace" = "push"): void {
    if (path === this.path) {
      return;
    }
    this.#depth += how === "push" ? 1 : 0;
    history[how === "push" ? "pushState" : "replaceState"]({ depth: this.#depth }, "", path);
    this.path = path;
  }

  // back goes to where the person came from, or up when the page was opened here.
  back(up: string): void {
    this.#depth > 0 ? history.back() : this.go(up, "replace");
  }
}

export const router = new Router();

// link makes <a> elements stay in the page. Modified clicks are the browser's.
export function link(node: HTMLAnchorElement): { destroy(): void } {
  const click = (e: MouseEvent) => {
    if (e.button === 0 && !e.metaKey && !e.ctrlKey && !e.shiftKey && !e.altKey) {
      e.preventDefault();
      router.go(new URL(node.href).pathname);
    }
  };
  node.addEventListener("click", click);
  return { destroy: () => node.removeEventListener("click", click) };
}
