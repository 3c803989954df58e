const side = 256; // pixels
const mostBytes = 65_520; // of a picture, as the core takes it
const mostFile = 20 << 20; // bytes of what is chosen

export class TooLarge extends Error {}

// portrait cuts the middle square out of a picture, scales it down and encodes it anew: nothing else that the file tells,
// such as where it was taken, is left. It fails for what the browser cannot decode.
export async function portrait(file: Blob): Promise<Blob> {
  if (file.size > mostFile) {
    throw new TooLarge();
  }
  const picture = await createImageBitmap(file);
  try {
    const cut = Math.min(picture.width, picture.height);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = Math.min(side, cut);
    const c = canvas.getContext("2d")!;
    c.fillStyle = "#fff"; // JPEG has no transparency
    c.fillRect(0, 0, canvas.width, canvas.height);
    c.imageSmoothingQuality = "high";
    c.drawImage(picture, (picture.width - cut) / 2, (picture.height - cut) / 2, cut, cut, 0, 0, canvas.width, canvas.height);
    for (const quality of [0.88, 0.7, 0.5, 0.3]) {
      const blob = await new Promise<Blob | null>((done) => { canvas.toBlob(done, "image/jpeg", quality); });
      if (blob && blob.size <= mostBytes) {
        return blob;
      }
    }
    throw new TooLarge();
  } finally {
    picture.close();
  }
}
