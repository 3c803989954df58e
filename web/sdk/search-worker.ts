// The search worker: holds the folded texts of the history and looks through them, so that the page stays smooth.
// It has no storage: what it knows is gone when it ends.
import { Index, type SearchHit } from "./fold";

type Request =
  | { do: "add"; hits: SearchHit[] }
  | { do: "remove"; conversation: string; id: string }
  | { do: "find"; id: number; query: string; limit: number }
  | { do: "clear" };

const index = new Index();

self.onmessage = ({ data: r }: MessageEvent<Request>) => {
  switch (r.do) {
    case "add": index.add(r.hits); break;
    case "remove": index.remove(r.conversation, r.id); break;
    case "clear": index.clear(); break;
    case "find": self.postMessage({ id: r.id, hits: index.find(r.query, r.limit) }); break;
  }
};
