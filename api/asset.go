package api

// Bounds of assets that both sides check.
const (
	MaxAssetSize = 16 << 20 // bytes
	MaxAssetPart = 1 << 20  // bytes of one request
	MinAssetPart = 64 << 10 // bytes of every part but the last
	MaxAssets    = 1_000    // of an account
	MaxUploads   = 4        // of an account at once
	MaxAssetPage = 100      // assets in one page
)

// BeginAsset announces what is going to be uploaded: a ciphertext.
type BeginAsset struct {
	SHA256 []byte `json:"sha256"` // 32 bytes
	Size   int64  `json:"size"`   // bytes
}

// Asset is a blob of the account. It is stored when everything was received.
type Asset struct {
	UploadID  UploadID `json:"upload_id"`
	SHA256    []byte   `json:"sha256"`
	Size      int64    `json:"size"`
	Received  int64    `json:"received"` // where the next part begins
	ChangedAt int64    `json:"changed_at"`
}

// Stored tells that nothing is missing.
func (a Asset) Stored() bool { return a.Received == a.Size }

// Assets is one page, in the order of the hashes. Next is the "after" of the following one, empty at the end.
type Assets struct {
	Assets []Asset `json:"assets"`
	Next   string  `json:"next,omitempty"`
	Used   int64   `json:"used"`  // bytes, of all
	Quota  int64   `json:"quota"` // bytes
}

// QuotaDetails explain CodeQuota.
type QuotaDetails struct {
	Used      int64 `json:"used"`  // bytes
	Quota     int64 `json:"quota"` // bytes
	Assets    int   `json:"assets"`
	MaxAssets int   `json:"max_assets"`
}
