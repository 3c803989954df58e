// The same folding as in the search of messages, so that names and texts are found alike.
export { fold, words as queryWords } from "sotto-sdk/fold";
