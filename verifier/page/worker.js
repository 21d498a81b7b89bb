// Runs in a worker: reads slices of the file as the core asks for them.
self.onmessage = async ({ data: { wasm, file, trust } }) => {
  const reader = new FileReaderSync();
  const read = (from, length) => new Uint8Array(reader.readAsArrayBuffer(file.slice(from, from + length)));
  let told = 0;
  const progress = (done, of) => {
    const now = Date.now();
    if (now - told < 100 && done !== of) return;
    told = now;
    self.postMessage({ done, of });
  };
  try {
    await wasm_bindgen({ module_or_path: wasm });
    self.postMessage({ report: JSON.parse(wasm_bindgen.verify_bundle(read, file.size, JSON.stringify(trust), progress)) });
  } catch (error) {
    self.postMessage({ error: error instanceof WebAssembly.RuntimeError ? "the verifier stopped: please report this bundle" : error.message });
  }
};
